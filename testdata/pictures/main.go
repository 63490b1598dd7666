// Command pictures makes the pictures of README.md, for `make pictures`: a photo with its faces drawn in, a
// recording of a terminal, and a report as a browser shows it. All of them are what the program really does:
// it runs a list of a server on loopback, with pictures that may be shown.
//
//	pictures -facescan ./facescan -out testdata/pictures
//
// The browser is Chromium, or the one that -browser names.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"html"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const photo = "detect/testdata/faces.jpg"

// session is what is typed in the recording. The first run is killed; the second one goes on.
var session = []string{
	"head -3 urls.txt",
	"timeout -s KILL 2 facescan run urls.txt",
	"facescan run urls.txt",
	"facescan export urls.txt | head -4",
}

func main() {
	log.SetFlags(0)
	binary := flag.String("facescan", "./facescan", "the program")
	out := flag.String("out", "testdata/pictures", "folder for the pictures")
	browser := flag.String("browser", "chromium", "a browser of Chromium's family")
	flag.Parse()
	if err := draw(*binary, *out, *browser); err != nil {
		log.Fatalf("pictures: %v", err)
	}
}

func draw(binary, out, browser string) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	faces, err := filepath.Abs(photo)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "facescan-pictures-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	stop, err := serve(filepath.Join(work, "urls.txt"), faces)
	if err != nil {
		return err
	}
	defer stop()

	lines, err := record(work, filepath.Dir(binary))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "terminal.svg"), []byte(picture(lines)), 0o644); err != nil {
		return err
	}

	drawn := filepath.Join(work, "drawn")
	if err := run(work, binary, "detect", faces, "--draw", drawn); err != nil {
		return err
	}
	if err := move(filepath.Join(drawn, "faces.faces.png"), filepath.Join(out, "faces.png")); err != nil {
		return err
	}

	if err := run(work, binary, "report", "urls.txt", "-o", "report.html"); err != nil {
		return err
	}
	// A browser may be kept from the folder of another user's programs, but not from its own.
	if err := run(work, browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
		"--user-data-dir="+filepath.Join(work, "browser"), "--host-resolver-rules=MAP * ~NOTFOUND",
		"--window-size=900,1100", "--screenshot="+filepath.Join(work, "report.png"),
		"file://"+filepath.Join(work, "report.html")); err != nil {
		return err
	}
	return move(filepath.Join(work, "report.png"), filepath.Join(out, "report.png"))
}

// serve starts the server of make demo, and returns when its list is there.
func serve(list, faces string) (stop func(), err error) {
	server := filepath.Join(filepath.Dir(list), "server")
	if err := run(".", "go", "build", "-o", server, "./testdata/demo"); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	c := exec.CommandContext(ctx, server, "-list", list, "-photo", faces, "-n", "2000")
	in, err := c.StdinPipe()
	if err == nil {
		c.Stderr = os.Stderr
		err = c.Start()
	}
	stop = func() {
		_ = in.Close()
		_ = c.Wait()
		cancel()
	}
	for err == nil {
		if _, err := os.Stat(list); err == nil {
			return stop, nil
		}
		if err := ctx.Err(); err != nil {
			return stop, fmt.Errorf("the server of the demo wrote no list: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	return nil, err
}

func run(dir, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", c, err, out)
	}
	return nil
}

// move copies a file to its place: they may lie on different disks.
func move(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// line is a line of the terminal, and when it came.
type line struct {
	text  string
	at    time.Duration
	typed bool
}

// record runs the session in a folder, with a program's folder first in the path.
func record(dir, path string) (lines []line, err error) {
	begin := time.Now()
	for _, command := range session {
		lines = append(lines, line{"$ " + command, time.Since(begin), true})
		r, w := io.Pipe()
		c := exec.Command("sh", "-c", command)
		c.Dir, c.Stdout, c.Stderr = dir, w, w
		c.Env = append(os.Environ(), "FACESCAN_ALLOW_PRIVATE=1", "NO_COLOR=1",
			"PATH="+path+string(filepath.ListSeparator)+os.Getenv("PATH"))
		go func() {
			_ = c.Run() // one of them is killed
			_ = w.Close()
		}()
		s := bufio.NewScanner(r)
		for s.Scan() {
			lines = append(lines, line{s.Text(), time.Since(begin), false})
		}
		if err := s.Err(); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

const (
	columns    = 100
	charWidth  = 8.4 // of a monospaced font of 14 pixels
	lineHeight = 19
	margin     = 16
)

var wide = regexp.MustCompile(fmt.Sprintf(".{1,%d}", columns))

// picture draws the recording: each line appears when it came, and stays. Where nothing moves, all are there.
func picture(lines []line) string {
	var rows []line
	for _, l := range lines {
		if l.typed && len(rows) > 0 {
			rows = append(rows, line{at: l.at})
		}
		parts := wide.FindAllString(l.text, -1)
		if parts == nil {
			parts = []string{""}
		}
		for _, p := range parts {
			rows = append(rows, line{p, l.at, l.typed})
		}
	}
	width, height := int(columns*charWidth)+2*margin, len(rows)*lineHeight+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" role="img"
	viewBox="0 0 %d %d" width="%[1]d" height="%[2]d"
	aria-label="A run of facescan that is killed, the same command again, and the first lines of the export">
<style>
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
	fill: #d7dae0; white-space: pre; animation: appear 1ms both }
.typed { fill: #8fd48f }
@keyframes appear { from { opacity: 0 } to { opacity: 1 } }
@media (prefers-reduced-motion: reduce) { text { animation: none } }
</style>
<rect width="100%%" height="100%%" rx="8" fill="#1d2127"/>
`, width, height)
	for i, r := range rows {
		if r.text == "" {
			continue
		}
		class := ""
		if r.typed {
			class = ` class="typed"`
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d"%s style="animation-delay:%.2fs" xml:space="preserve">%s</text>`,
			margin, margin+14+i*lineHeight, class, r.at.Seconds(), html.EscapeString(r.text))
		b.WriteByte('\n')
	}
	b.WriteString("</svg>\n")
	return b.String()
}
