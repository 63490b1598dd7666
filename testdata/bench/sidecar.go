package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// sidecars measures whole runs through `facescan sidecar --device cpu` beside runs without: processor time of
// both processes, the sidecar's start and the checks of it included.
func (b *bench) sidecars() {
	const here = "here"
	how := []struct{ name, listen, input string }{
		{here, "", ""},
		{"luma, Unix socket", "unix:" + filepath.Join(b.dir, "s"), "luma"},
		{"luma, TCP", "127.0.0.1:0", "luma"},
		{"files, Unix socket", "unix:" + filepath.Join(b.dir, "s"), "encoded"},
	}
	least := map[string]float64{}
	for round := range 3 {
		for i, h := range how {
			args := runArgs(b.long, filepath.Join(b.dir, fmt.Sprint("sidecar", round, i, ".db")))
			stop := func() float64 { return 0 }
			if h.listen != "" {
				var url string
				url, stop = startSidecar(b.exe, h.listen, b.longRows)
				args = append(args, "--sidecar", url, "--sidecar-input", h.input)
			}
			ms := perURL(b.longRows, b.exe, args...) + stop()
			if was, ok := least[h.name]; !ok || ms < was {
				least[h.name] = ms
			}
		}
	}
	fmt.Printf("\n%d URLs, faces from 20 px, the detector in this process or in another; CPU time of both, "+
		"ms a URL, the best of three.\n\n", b.longRows)
	fmt.Println("| detector | ms a URL | more |\n|---|---|---|")
	for _, h := range how {
		fmt.Printf("| %s | %.2f | %.2f |\n", h.name, least[h.name], least[h.name]-least[here])
	}
}

// startSidecar returns the URL, and what ends the sidecar and returns its processor time in milliseconds a
// URL.
func startSidecar(exe, listen string, n int) (url string, stop func() float64) {
	c := exec.Command(exe, "sidecar", "--listen", listen)
	said, err := c.StderrPipe()
	check(err)
	check(c.Start())
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if _, found, ok := strings.Cut(lines.Text(), "--sidecar "); ok {
			url = found
			break
		}
		fmt.Fprintln(os.Stderr, lines.Text())
	}
	return url, func() float64 {
		check(c.Process.Signal(syscall.SIGTERM))
		for lines.Scan() {
		}
		check(c.Wait())
		return cpuOf(c, n)
	}
}
