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

func main() {
	n := flag.Int("n", 600, "URLs of a whole run")
	naive := flag.String("naive", "", "folder of a program to compare with")
	python := flag.String("python", "", "interpreter with OpenCV and urllib3, for a whole run of "+
		"YuNet in Python; with -onnx")
	onnx := flag.String("onnx", "", "YuNet as ONNX")
	photos := flag.String("images", "", "serve the JPEGs below this folder instead of pictures that are made")
	only := flag.Bool("sidecar", false, "only what a sidecar costs")
	serve := flag.String("serve", "", "internal: serve a folder and write the address into it")
	peersOnly := flag.Bool("peers", false, "only whole runs: facescan, and YuNet in Python")
	hostsOnly := flag.Bool("hosts", false, "only runs over many hosts")
	waysOnly := flag.Bool("ways", false, "only three ways to share a list among processes")
	scheme := flag.String("scheme", "", "internal: serve many hosts instead, by http or https")
	pictures := flag.String("corpus", "", "only make the pictures, with where their faces are, in a folder")
	flag.Parse()
	if *pictures != "" {
		corpus(*pictures, 500, 375)
		return
	}
	switch {
	case *serve != "" && *scheme != "":
		serveHosts(*serve, *scheme, *n)
		return
	case *serve != "":
		server(*serve)
		return
	}
	dir, err := os.MkdirTemp("", "facescan-bench-")
	check(err)
	defer os.RemoveAll(dir)
	exe := filepath.Join(dir, "facescan")
	run(nil, "go", "build", "-o", exe, ".")
	switch {
	case *hostsOnly:
		hosts(exe, dir)
		return
	case *waysOnly:
		ways(exe, dir)
		return
	}
	images := corpus(dir, 500, 375)
	if *photos != "" {
		images = copied(*photos, filepath.Join(dir, "images"))
	}
	list, stop := startServer(dir, 5**n)
	defer stop()

	fmt.Printf("%s (yunet runs on %s), %s, %d cores; %d pictures of %.2f megapixels and %.0f KB; CPU "+
		"time, the best of three.\n\n",
		cpuName(), yunet.Path(), runtime.Version(), runtime.NumCPU(), len(images), meanPixels(images)/1e6,
		meanSize(images)/1e3)
	if *only {
		sidecars(dir, exe, list, 5**n)
		return
	}
	fmt.Println("| what | plain | facescan | ratio |\n|---|---|---|---|")
	all := list
	list = shorter(list, *n)
	whole := func(flags ...string) float64 {
		least := math.Inf(1)
		for i := range 3 {
			job := filepath.Join(dir, fmt.Sprint("job", i, strings.Join(flags, ""), ".db"))
			least = min(least,
				perURL(*n, exe,
					append([]string{"run", list, "--db", job, "--allow-private", "--per-host", "0",
						"--progress", "none", "-q"}, flags...)...))
		}
		return least
	}
	if *python != "" {
		script := perURL(*n, *python, filepath.Join("testdata", "accuracy", "peers.py"), "urls", *onnx, "320",
			list)
		for _, k := range detect.Kinds() {
			row("whole run, YuNet in Python (urllib3, OpenCV, 320 px) and --detector "+k.Name+", ms per URL",
				script, whole("--detector", k.Name))
		}
	}
	if *peersOnly {
		return
	}
	for _, min := range []int{20, 40, 80} {
		plain := search(images, min, newOracle)
		for _, k := range detect.Kinds() {
			row(fmt.Sprintf("%s alone, faces from %d px, ms per image", k.Name, min), plain,
				search(images, min, k.Name))
		}
	}
	for _, side := range []int{200, 1000, 2000, 4000} {
		perPixel(side)
	}
	row("decode to luma, ms per image", decodePlain(images), decodeOurs(images, 1))
	if turbo.Available {
		row("the same, beside libjpeg-turbo called directly", decodeTurbo(images), decodeOurs(images, 1))
	}
	row("decode as a run does from 20 px", decodePlain(images), decodeOurs(images, 20))

	plain := map[int]float64{}
	if *naive != "" {
		bin := filepath.Join(dir, "naive")
		build := exec.Command("go", "build", "-o", bin, ".")
		build.Dir = *naive
		build.Stderr = os.Stderr
		check(build.Run())
		cascade := filepath.Join("detect", "pigo", "facefinder")
		for _, min := range []int{20, 40} {
			plain[min] = perURL(*n/4, bin, "-cascade", cascade, "-db",
				filepath.Join(dir, fmt.Sprint("naive", min, ".db")), "-min", fmt.Sprint(min),
				shorter(list, *n/4))
		}
	}
	for _, k := range detect.Kinds() {
		for _, min := range []int{20, 40} {
			row(fmt.Sprintf("whole run, --detector %s, faces from %d px, ms per URL", k.Name, min),
				plain[min], whole("--detector", k.Name, "--min-face", fmt.Sprint(min)))
		}
	}
	cores(dir, exe, 5**n)
	sidecars(dir, exe, all, 5**n)
	// What a child had at most counts its parent's memory when it began, which by now is large.
	self, err := os.Executable()
	check(err)
	small := exec.Command(self, "-hosts")
	small.Stdout, small.Stderr = os.Stdout, os.Stderr
	check(small.Run())
}

// cores prints how much faster a whole run is on two cores than on one, its server on the same cores, and
// what the run itself takes of their time.
func cores(dir, exe string, n int) {
	taskset, err := exec.LookPath("taskset")
	if err != nil || runtime.NumCPU() < 2 {
		return
	}
	var took, cpu []float64
	for _, on := range []string{"0", "0,1"} {
		where := filepath.Join(dir, "cores-"+on)
		check(os.Mkdir(where, 0o755))
		check(os.Symlink(filepath.Join(dir, "images"), filepath.Join(where, "images")))
		list, stop := startServer(where, n, taskset, "-c", on)
		begin := time.Now()
		cpu = append(cpu, perURL(n, taskset, "-c", on, exe, "run", list, "--db",
			filepath.Join(where, "job.db"), "--allow-private", "--per-host", "0", "--progress",
			"none", "-q", "--workers", "2"))
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
			check(d.Decode(b, room, c.Width, c.Height, c.Width, 8, turbo.Gray))
		}
	})
}

func decodeOurs(images [][]byte, minFace int) float64 {
	o := decode.Options{MinFace: minFace}
	if minFace == 1 {
		o.MinFace = 0
	}
	d := decode.New(o)
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
	return (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds() * 1e3 / float64(n)
}

// startServer serves the images in another process, whose time does not count, and writes a list of n URLs.
// before may be a command that starts it, with its arguments.
func startServer(dir string, n int, before ...string) (list string, stop func()) {
	self, err := os.Executable()
	check(err)
	command := append(before, self, "-serve", dir)
	c := exec.Command(command[0], command[1:]...)
	in, err := c.StdinPipe()
	check(err)
	c.Stderr = os.Stderr
	check(c.Start())
	address := filepath.Join(dir, "address")
	for range 200 {
		if b, err := os.ReadFile(address); err == nil {
			var text strings.Builder
			for i := range n {
				fmt.Fprintf(&text, "%s/i/%d/photo-%d.jpg\n", b, i, i)
			}
			list = filepath.Join(dir, "urls.txt")
			check(os.WriteFile(list, []byte(text.String()), 0o644))
			return list, func() { in.Close(); c.Wait() }
		}
		time.Sleep(20 * time.Millisecond)
	}
	log.Fatal("the server did not start")
	return "", nil
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
	tmp := filepath.Join(dir, "address.tmp")
	check(os.WriteFile(tmp, []byte(s.URL), 0o644))
	check(os.Rename(tmp, filepath.Join(dir, "address")))
	var b [1]byte
	os.Stdin.Read(b[:]) // returns when the parent is gone
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

func run(env []string, name string, args ...string) {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), env...)
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
