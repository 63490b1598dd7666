// Package browser drives a real Chromium, without a window, for the tests of pages.
package browser

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a page may take for one thing. Machines that run tests may be busy.
const patience = time.Minute

// Browser is a browser with one page.
type Browser struct {
	t   testing.TB
	ctx context.Context

	mu        sync.Mutex
	problems  []string
	requested []string
}

// Open starts a browser that is closed with the test. Without Chromium the test fails, and says how to get
// it.
func Open(t testing.TB) *Browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Fatal("this test looks at a page in Chromium, which is missing; install it with: apt-get " +
			"install chromium")
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.WSURLReadTimeout(patience)}
	for _, flag := range []string{"disable-quic", "disable-background-networking", "disable-component-update",
		"disable-sync", "disable-default-apps", "disable-extensions", "disable-dev-shm-usage",
		"disable-domain-reliability", "metrics-recording-only", "no-pings", "mute-audio"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	// Pages can reach nothing but this machine.
	options = append(options, chromedp.Flag("host-resolver-rules",
		"MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1"))
	// With a folder of its own, empty, for what it stores.
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	allocator := chromedp.FromContext(ctx).Allocator
	t.Cleanup(func() {
		cancel()
		allocator.Wait()
	})
	ctx, end := chromedp.NewContext(ctx, chromedp.WithErrorf(func(format string, args ...any) {
		// chromedp says so of protocol messages that are newer than it.
		t.Logf("chromedp: "+format, args...)
	}))
	t.Cleanup(end)
	b := &Browser{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, b.listen)
	b.do("start", network.Enable(), cdplog.Enable(), runtime.Enable())
	return b
}

// listen records what a page complains of, and what it requests.
func (b *Browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	note := func(format string, args ...any) { b.problems = append(b.problems, fmt.Sprintf(format, args...)) }
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		note("exception: %s", e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		var text []string
		for _, a := range e.Args {
			text = append(text, string(a.Value))
		}
		note("console.%s: %s", e.Type, strings.Join(text, " "))
	case *cdplog.EventEntryAdded:
		note("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case *network.EventRequestWillBeSent:
		b.requested = append(b.requested, e.Request.URL)
	}
}

func (b *Browser) do(what string, actions ...chromedp.Action) {
	b.t.Helper()
	// The first action starts the browser with its context, so a deadline must not be that context's.
	done := make(chan error, 1)
	go func() { done <- chromedp.Run(b.ctx, actions...) }()
	select {
	case err := <-done:
		if err != nil {
			b.t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(patience):
		b.t.Fatalf("%s: no end in %v", what, patience)
	}
}

// Go opens an address and waits until it is loaded.
func (b *Browser) Go(url string) {
	b.t.Helper()
	b.do("open "+url, chromedp.Navigate(url))
}

// Eval evaluates JavaScript, awaiting a promise, into what out points to, unless that is nil.
func (b *Browser) Eval(script string, out any) {
	b.t.Helper()
	b.do(script, chromedp.Evaluate(script, out,
		func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
}

// Wait waits until JavaScript is true.
func (b *Browser) Wait(script string) {
	b.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ok := false
		if b.Eval("Boolean("+script+")", &ok); ok {
			return
		}
		if time.Now().After(end) {
			var text string
			b.Eval("document.body.innerText", &text)
			b.t.Fatalf("%s: not within %v; the page says:\n%s\nand complains: %q", script, patience, text,
				b.Problems())
		}
	}
}

// Look sets the window's size in pixels and the colours that the user prefers, light or dark.
func (b *Browser) Look(width, height int, dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.do("set the window", emulation.SetDeviceMetricsOverride(int64(width), int64(height), 1, false),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme",
			Value: scheme}}))
}

// Print shows the page as it is printed on paper, or as on a screen.
func (b *Browser) Print(on bool) {
	b.t.Helper()
	media := ""
	if on {
		media = "print"
	}
	b.do("set the medium", emulation.SetEmulatedMedia().WithMedia(media))
}

// Shoot writes a PNG of the whole page.
func (b *Browser) Shoot(path string) {
	b.t.Helper()
	var png []byte
	b.do("take a picture", chromedp.ActionFunc(func(ctx context.Context) (err error) {
		png, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).Do(ctx)
		return err
	}))
	if len(png) < 1000 {
		b.t.Fatalf("the picture of the page has %d bytes", len(png))
	}
	if err := os.WriteFile(path, png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// Problems are what the page complained of: exceptions, messages on the console, what could not be loaded,
// what its policy forbade.
func (b *Browser) Problems() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.problems)
}

// Requested are the addresses that the page requested.
func (b *Browser) Requested() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requested)
}

// Pale lists texts whose contrast with their background is below 4.5 to 1, by the formula of WCAG 2.
func (b *Browser) Pale() (texts []string) {
	b.t.Helper()
	b.Eval(pale, &texts)
	return texts
}

//go:embed pale.js
var pale string
