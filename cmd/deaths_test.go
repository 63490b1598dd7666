package cmd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// TestPostgresDeaths has four processes share a database, of which one after the other is killed at a random
// moment, with rows in its decoders. Each death counts once, whichever of the others finds it, and however
// that one ends: no valid image is called bad.
func TestPostgresDeaths(t *testing.T) {
	t.Parallel()
	runs, deaths, n := 1, 8, 1200
	if os.Getenv("FACESCAN_SOAK") != "" {
		runs, deaths, n = 20, 28, 4000
	}
	s := fetchtest.New(drawn(t), time.Millisecond)
	defer s.Close()
	var lines, outcomes []string
	for i := range n {
		lines = append(lines, fmt.Sprintf("%s/i/1/%d.jpg", s.URL, i))
		outcomes = append(outcomes, "ok")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for run := range runs {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			url, dir := database(t), t.TempDir()
			mustHere(t, "import", writeList(t, dir, lines), "--db", url, "-q", "--shard-size", "100")
			args := []string{"run", url, "--allow-private", "--progress", "none", "--fetchers", "8",
				"--lease-ttl", "1s", "-q"}
			type process struct {
				wait func() error
				kill func()
				said *transcript
			}
			begin := func() process {
				c, stderr := child(t, dir, args...)
				return process{c.Wait, func() { _ = c.Process.Kill() }, stderr}
			}
			var alive []process
			for range 4 {
				alive = append(alive, begin())
			}
			for range deaths {
				// a moment that nobody chose
				time.Sleep(time.Duration(random.IntN(int(200 * time.Millisecond))))
				at := random.IntN(len(alive))
				alive[at].kill()
				_ = alive[at].wait() // killed, or through
				alive[at] = begin()
			}
			for _, p := range alive {
				if err := p.wait(); err != nil {
					t.Errorf("%v\n%s", err, p.said)
				}
			}
			mustHere(t, "verify", url, "-q")
			checkExport(t, url, lines, outcomes)
		})
	}
}
