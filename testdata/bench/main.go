// Command bench measures facescan beside the plain way of doing the same, on pictures that it makes itself,
// in one process after the other on one machine, and prints a table in Markdown. Times are CPU time.
//
//	go run ./testdata/bench [-n 600] [-naive FOLDER] [-images FOLDER] [-python PYTHON -onnx MODEL]
//		[-sidecar | -hosts | -ways]
//
// The plain way is net/http, image/jpeg, pigo's RunCascade and a row a result in SQLite. -naive names the
// folder of another program to compare with: it is built there and called as `naive -cascade FILE -db FILE
// -min N LIST`.
package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"log"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/image/draw"
	"golang.org/x/sys/unix"

	esimov "github.com/esimov/pigo/core"

	"facescan/detect"
	"facescan/detect/pigo"
	"facescan/detect/yunet"
	"facescan/pipeline/decode"
	"facescan/pipeline/decode/turbo"
	"facescan/pipeline/fetch/fetchtest"
)

// options are the flags of a whole measurement.
type options struct {
	rows         int    // of a whole run
	naive        string // folder of a program to compare with
	python, onnx string // YuNet in Python
	photos       string // instead of pictures that are made
}

func main() {
	var o options
	flag.IntVar(&o.rows, "n", 600, "URLs of a whole run")
	flag.StringVar(&o.naive, "naive", "", "folder of a program to compare with")
	flag.StringVar(&o.python, "python", "", "interpreter with OpenCV and urllib3, for a whole run of "+
		"YuNet in Python; with -onnx")
	flag.StringVar(&o.onnx, "onnx", "", "YuNet as ONNX")
	flag.StringVar(&o.photos, "images", "",
		"serve the JPEGs below this folder instead of pictures that are made")
	only := flag.Bool("sidecar", false, "only what a sidecar costs")
	serve := flag.String("serve", "", "internal: serve a folder and write the address into it")
	peersOnly := flag.Bool("peers", false, "only whole runs: facescan, and YuNet in Python")
	hostsOnly := flag.Bool("hosts", false, "only runs over many hosts")
	waysOnly := flag.Bool("ways", false, "only three ways to share a list among processes")
	scheme := flag.String("scheme", "", "internal: serve many hosts instead, by http or https")
	pictures := flag.String("corpus", "", "only make the pictures, with where their faces are, in a folder")
	flag.Parse()
	switch {
	case *pictures != "":
		corpus(*pictures, 500, 375)
		return
	case *serve != "" && *scheme != "":
		serveHosts(*serve, *scheme, o.rows)
		return
	case *serve != "":
		server(*serve)
		return
	}
	dir, err := os.MkdirTemp("", "facescan-bench-")
	check(err)
	defer os.RemoveAll(dir)
	exe := filepath.Join(dir, "facescan")
	run("go", "build", "-o", exe, ".")
	switch {
	case *hostsOnly:
		hosts(exe, dir)
	case *waysOnly:
		ways(exe, dir)
	default:
		b := newBench(o, exe, dir)
		defer b.stop()
		switch {
		case *only:
			b.sidecars()
		case *peersOnly:
			b.peers()
		default:
			b.all()
		}
	}
}

// bench is a measurement, with a server of the pictures.
type bench struct {
	options
	exe, dir string
	images   [][]byte
	long     string // a list of longRows rows
	longRows int
	list     string // its beginning
	stop     func()
}

func newBench(o options, exe, dir string) *bench {
	b := &bench{options: o, exe: exe, dir: dir, images: corpus(dir, 500, 375), longRows: 5 * o.rows}
	if o.photos != "" {
		b.images = copied(o.photos, filepath.Join(dir, "images"))
	}
	b.long, b.stop = startServer(dir, b.longRows)
	b.list = shorter(b.long, o.rows)
	fmt.Printf("%s (yunet runs on %s), %s, %d cores; %d pictures of %.2f megapixels and %.0f KB; CPU "+
		"time, the best of three.\n\n",
		cpuName(), yunet.Path(), runtime.Version(), runtime.NumCPU(), len(b.images),
		meanPixels(b.images)/1e6, meanSize(b.images)/1e3)
	return b
}

// runArgs is a run of a list into a job, as fast as it goes.
func runArgs(list, job string, flags ...string) []string {
	return append([]string{"run", list, "--db", job, "--allow-private", "--per-host", "0",
		"--progress", "none", "-q"}, flags...)
}

// whole is the CPU time of a whole run, per URL.
func (b *bench) whole(flags ...string) float64 {
	least := math.Inf(1)
	for i := range 3 {
		job := filepath.Join(b.dir, fmt.Sprint("job", i, strings.Join(flags, ""), ".db"))
		least = min(least, perURL(b.rows, b.exe, runArgs(b.list, job, flags...)...))
	}
	return least
}

// peers begins the table, with whole runs beside YuNet in Python.
func (b *bench) peers() {
	fmt.Println("| what | plain | facescan | ratio |\n|---|---|---|---|")
	if b.python == "" {
		return
	}
	script := perURL(b.rows, b.python, filepath.Join("testdata", "accuracy", "peers.py"), "urls", b.onnx,
		"320", b.list)
	for _, k := range detect.Kinds() {
		row("whole run, YuNet in Python (urllib3, OpenCV, 320 px) and --detector "+k.Name+", ms per URL",
			script, b.whole("--detector", k.Name))
	}
}

// all measures everything there is to measure beside the plain way.
func (b *bench) all() {
	b.peers()
	for _, min := range []int{20, 40, 80} {
		plain := search(b.images, min, newOracle)
		for _, k := range detect.Kinds() {
			row(fmt.Sprintf("%s alone, faces from %d px, ms per image", k.Name, min), plain,
				search(b.images, min, k.Name))
		}
	}
	for _, side := range []int{200, 1000, 2000, 4000} {
		perPixel(side)
	}
	row("decode to luma, ms per image", decodePlain(b.images), decodeOurs(b.images, 0))
	if turbo.Available {
		row("the same, beside libjpeg-turbo called directly", decodeTurbo(b.images), decodeOurs(b.images, 0))
	}
	row("decode as a run does from 20 px", decodePlain(b.images), decodeOurs(b.images, 20))

	plain := b.naiveRuns()
	for _, k := range detect.Kinds() {
		for _, min := range []int{20, 40} {
			row(fmt.Sprintf("whole run, --detector %s, faces from %d px, ms per URL", k.Name, min),
				plain[min], b.whole("--detector", k.Name, "--min-face", strconv.Itoa(min)))
		}
	}
	b.cores()
	b.sidecars()
	// What a child had at most counts its parent's memory when it began, which by now is large.
	self, err := os.Executable()
	check(err)
	small := exec.Command(self, "-hosts")
	small.Stdout, small.Stderr = os.Stdout, os.Stderr
	check(small.Run())
}

// naiveRuns are whole runs of the program to compare with, if there is one: CPU time per URL by the size of
// the smallest face.
func (b *bench) naiveRuns() map[int]float64 {
	plain := map[int]float64{}
	if b.naive == "" {
		return plain
	}
	bin := filepath.Join(b.dir, "naive")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Dir = b.naive
	build.Stderr = os.Stderr
	check(build.Run())
	for _, min := range []int{20, 40} {
		plain[min] = perURL(b.rows/4, bin, "-cascade", filepath.Join("detect", "pigo", "facefinder"), "-db",
			filepath.Join(b.dir, fmt.Sprint("naive", min, ".db")), "-min", strconv.Itoa(min),
			shorter(b.list, b.rows/4))
	}
	return plain
}

// cores prints how much faster a whole run is on two cores than on one, its server on the same cores, and
// what the run itself takes of their time.
func (b *bench) cores() {
	taskset, err := exec.LookPath("taskset")
	if err != nil || runtime.NumCPU() < 2 {
		return
	}
	var took, cpu []float64
	for _, on := range []string{"0", "0,1"} {
		where := filepath.Join(b.dir, "cores-"+on)
		check(os.Mkdir(where, 0o755))
		check(os.Symlink(filepath.Join(b.dir, "images"), filepath.Join(where, "images")))
		list, stop := startServer(where, b.longRows, taskset, "-c", on)
		begin := time.Now()
		cpu = append(cpu, perURL(b.longRows, taskset, append([]string{"-c", on, b.exe},
			runArgs(list, filepath.Join(where, "job.db"), "--workers", "2")...)...))
		took = append(took, time.Since(begin).Seconds())
		stop()
	}
	row("whole run and its server, seconds, on one core and on two", took[0], took[1])
	row("whole run without its server, ms of CPU per URL, on one core and on two", cpu[0], cpu[1])
}

func row(what string, plain, ours float64) {
	if plain == 0 {
		fmt.Printf("| %s | – | %.2f | – |\n", what, ours)
		return
	}
	fmt.Printf("| %s | %.2f | %.2f | %.1fx |\n", what, plain, ours, plain/ours)
}

// newOracle names pigo as pigo itself evaluates it, beside the names of the detectors.
const newOracle = ""

// search is the CPU time that a detector takes for a decoded image, in milliseconds.
func search(images [][]byte, min int, name string) float64 {
	d := open(min, name)
	defer d.Close()
	var lumas []*image.Gray
	for _, b := range images {
		lumas = append(lumas, luma(b))
	}
	return best(len(lumas), func() {
		for _, l := range lumas {
			_, err := d.Detect(context.Background(), []detect.Image{{Luma: l, Scale: 1}})
			check(err)
		}
	})
}

func open(min int, name string) detect.Detector {
	p := detect.Defaults(cmp.Or(name, detect.Pigo))
	p.MinFace = min
	if name == newOracle {
		oracle, err := pigo.NewOracle(pigo.Facefinder)
		check(err)
		d, err := detect.NewWith(p, oracle)
		check(err)
		return d
	}
	d, err := detect.New(p)
	check(err)
	return d
}

// perPixel prints what each detector costs for a pixel of the sample photo, scaled to be as many pixels wide.
func perPixel(side int) {
	photo := samplePhoto()
	m := image.NewRGBA(image.Rect(0, 0, side, side*photo.Bounds().Dy()/photo.Bounds().Dx()))
	draw.BiLinear.Scale(m, m.Rect, photo, photo.Bounds(), draw.Src, nil)
	var b bytes.Buffer
	check(jpeg.Encode(&b, m, &jpeg.Options{Quality: 88}))
	one, pixels := [][]byte{b.Bytes()}, float64(m.Rect.Dx()*m.Rect.Dy())
	plain := search(one, 20, newOracle) * 1e6 / pixels
	for _, k := range detect.Kinds() {
		row(fmt.Sprintf("%s alone, %dx%d, ns per pixel", k.Name, m.Rect.Dx(), m.Rect.Dy()), plain,
			search(one, 20, k.Name)*1e6/pixels)
	}
}

func luma(b []byte) *image.Gray {
	img, err := jpeg.Decode(bytes.NewReader(b))
	check(err)
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	return &image.Gray{Pix: esimov.RgbToGrayscale(esimov.ImgToNRGBA(img)), Stride: w,
		Rect: image.Rect(0, 0, w, h)}
}

func decodePlain(images [][]byte) float64 {
	return best(len(images), func() {
		for _, b := range images {
			_, err := jpeg.Decode(bytes.NewReader(b))
			check(err)
		}
	})
}

// decodeTurbo is the library and nothing else, into room that is there.
func decodeTurbo(images [][]byte) float64 {
	d, err := turbo.New()
	check(err)
	defer d.Close()
	var room []byte
	return best(len(images), func() {
		for _, b := range images {
			c, err := jpeg.DecodeConfig(bytes.NewReader(b))
			check(err)
			if len(room) < c.Width*c.Height {
				room = make([]byte, c.Width*c.Height)
			}
			check(d.Decode(b, room, c.Width, c.Height, 8, turbo.Gray))
		}
	})
}

func decodeOurs(images [][]byte, minFace int) float64 {
	d := decode.New(decode.Options{MinFace: minFace})
	defer d.Close()
	return best(len(images), func() {
		for _, b := range images {
			_, err := d.Decode(b)
			check(err)
		}
	})
}

// best is the least CPU time of three rounds of at least a tenth of a second, in milliseconds for one of n.
func best(n int, round func()) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	least := math.Inf(1)
	for range 3 {
		times, begin := 0, threadTime()
		spent := time.Duration(0)
		for spent < 100*time.Millisecond {
			round()
			times++
			spent = threadTime() - begin
		}
		least = min(least, spent.Seconds()*1e3/float64(times*n))
	}
	return least
}

func threadTime() time.Duration {
	var t unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}

// perURL runs a command and returns its CPU time in milliseconds, divided.
func perURL(n int, name string, args ...string) float64 {
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	check(c.Run())
	return cpuOf(c, n)
}

// cpuOf is the CPU time of a process that has ended, in milliseconds for one of n.
func cpuOf(c *exec.Cmd, n int) float64 {
	return (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds() * 1e3 / float64(n)
}

// startServer serves the images in another process, whose time does not count, and writes a list of n URLs.
// before may be a command that starts it, with its arguments.
func startServer(dir string, n int, before ...string) (list string, stop func()) {
	address := filepath.Join(dir, "address")
	_, stop = startSelf(address, before, "-serve", dir)
	base, err := os.ReadFile(address)
	check(err)
	list = filepath.Join(dir, "urls.txt")
	publish(list, urls(n, func(i int) string { return fmt.Sprintf("%s/i/%d/photo-%d.jpg", base, i, i) }))
	return list, stop
}

// startSelf starts this program as a server, and waits for the file that it writes when it is ready.
func startSelf(file string, before []string, args ...string) (server *exec.Cmd, stop func()) {
	self, err := os.Executable()
	check(err)
	command := append(append(before, self), args...)
	c := exec.Command(command[0], command[1:]...)
	in, err := c.StdinPipe()
	check(err)
	c.Stderr = os.Stderr
	check(c.Start())
	await(file)
	return c, func() {
		in.Close()
		check(c.Wait())
	}
}

// untilParentEnds returns when standard input ends, which it does with the process that holds its other end.
func untilParentEnds() { _, _ = io.Copy(io.Discard, os.Stdin) }

// await waits for a file that another process makes.
func await(path string) {
	for range 1000 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	log.Fatalf("%s does not appear", path)
}

// publish writes a file that appears when it is complete.
func publish(path, text string) {
	check(os.WriteFile(path+".tmp", []byte(text), 0o644))
	check(os.Rename(path+".tmp", path))
}

// urls is a list of n lines.
func urls(n int, line func(i int) string) string {
	var text strings.Builder
	for i := range n {
		text.WriteString(line(i) + "\n")
	}
	return text.String()
}

func server(dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "images", "*.jpg"))
	check(err)
	images := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		check(err)
		images[filepath.Base(f)] = b
	}
	s := fetchtest.New(images, 0)
	defer s.Close()
	publish(filepath.Join(dir, "address"), s.URL)
	untilParentEnds()
}

// shorter is a list of the first n lines.
func shorter(list string, n int) string {
	b, err := os.ReadFile(list)
	check(err)
	lines := strings.SplitAfter(string(b), "\n")
	path := strings.TrimSuffix(list, ".txt") + strconv.Itoa(n) + ".txt"
	check(os.WriteFile(path, []byte(strings.Join(lines[:n], "")), 0o644))
	return path
}

func run(name string, args ...string) {
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	check(c.Run())
}

func meanSize(images [][]byte) (mean float64) {
	for _, b := range images {
		mean += float64(len(b)) / float64(len(images))
	}
	return mean
}

// copied copies the JPEGs below a folder to another one, under the names that the list has.
func copied(from, to string) (images [][]byte) {
	check(os.RemoveAll(to))
	check(os.MkdirAll(to, 0o755))
	check(filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.EqualFold(filepath.Ext(path), ".jpg") {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, fmt.Sprintf("photo-%d.jpg", len(images))), b, 0o644)
			images = append(images, b)
		}
		return err
	}))
	return images
}

func meanPixels(images [][]byte) (mean float64) {
	for _, b := range images {
		c, err := jpeg.DecodeConfig(bytes.NewReader(b))
		check(err)
		mean += float64(c.Width*c.Height) / float64(len(images))
	}
	return mean
}

func cpuName() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	if m := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(b); m != nil {
		return string(m[1])
	}
	return runtime.GOARCH
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
