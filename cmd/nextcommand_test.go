package cmd

import (
	"io"
	"slices"
	"testing"

	"github.com/spf13/pflag"

	"facescan/pipeline"
)

// TestFlagWords sets every flag of a run, and sets those of another one by the words that are made of it.
func TestFlagWords(t *testing.T) {
	t.Parallel()
	values := map[string]string{"node": "1/3", "abort-if": "failed > 60% after 10000", "max-fail": "5%",
		"angles": "30,-30", "keep-columns": `a,"b, c"`, "header": "@a file", "priority": "3",
		"min-score": "0.5", "hash": "sha256", "progress": "json", "log-format": "json",
		"sidecar-input": "encoded", "sidecar-fallback": "cpu"}
	byType := map[string]string{"bool": "true", "string": "it's a text", "int": "7", "int64": "8",
		"float64": "1.5", "duration": "90s", "size": "64MiB", "count": "1", "stringArray": "x y",
		"stringSlice": "x y"}
	run := func() *pflag.FlagSet {
		g := &globals{streams: newStreams(nil, io.Discard, io.Discard)}
		return newRun(g).Flags()
	}
	all := func(string) bool { return true }
	from, to := run(), run()
	from.VisitAll(func(f *pflag.Flag) {
		value, known := values[f.Name]
		if !known {
			value = byType[f.Value.Type()]
		}
		if err := from.Set(f.Name, value); err != nil {
			value = "100"
			if err := from.Set(f.Name, value); err != nil {
				t.Fatalf("--%s of type %s: %v", f.Name, f.Value.Type(), err)
			}
		}
	})
	if err := from.Set("abort-if", "http_429 > 500"); err != nil {
		t.Fatal(err)
	}
	words, secret := flagWords(from, all)
	if secret {
		t.Error("a secret was seen")
	}
	if err := to.Parse(words); err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	from.VisitAll(func(f *pflag.Flag) {
		if got := to.Lookup(f.Name).Value.String(); got != f.Value.String() {
			t.Errorf("--%s is %q, want %q", f.Name, got, f.Value)
		}
	})
	// What may be a password is left out.
	for name, value := range map[string]string{"header": "host=Authorization: Bearer x",
		"proxy": "http://me:x@proxy", "sidecar": "http://x@h:8000"} {
		fs := run()
		if err := fs.Set(name, value); err != nil {
			t.Fatal(err)
		}
		if words, secret := flagWords(fs, all); len(words) > 0 || !secret {
			t.Errorf("--%s: %q, %t", name, words, secret)
		}
	}
}

// TestFlagsHaveAPlace: of each flag of a run it is decided whether a job keeps it for later commands.
func TestFlagsHaveAPlace(t *testing.T) {
	// What a run writes, how much it does at once, and what the job itself keeps.
	others := []string{"out", "format", "keep", "keep-where", "keep-json", "keep-size", "keep-quality",
		"crops",
		"blurred", "blur-margin", "thumbnails", "blur-faces", "hash", "detector", "min-face", "max-face", "min-score",
		"iou", "shift", "scale", "angles", "verify-faces", "sidecar-batch", "sidecar-delay", "sidecar-deadline",
		"fetchers", "workers", "memory", "outage-wait", "tail-grace", "max-fail", "abort-if", "publish",
		"publish-every", "lease-ttl", "listen"}
	places := map[string]int{}
	for _, name := range slices.Concat(once, ofSources, remembered, others) {
		places[name]++
	}
	root := newRoot(&globals{streams: newStreams(nil, io.Discard, io.Discard)})
	run, _, err := root.Find([]string{"run"})
	if err != nil {
		t.Fatal(err)
	}
	flags := run.Flags()
	flags.AddFlagSet(root.PersistentFlags())
	flags.VisitAll(func(f *pflag.Flag) {
		if places[f.Name] != 1 {
			t.Errorf("--%s is in %d of the lists once, ofSources, remembered and others",
				f.Name, places[f.Name])
		}
		delete(places, f.Name)
	})
	delete(places, "help")
	for name := range places {
		t.Errorf("there is no flag --%s", name)
	}
	for _, d := range pipeline.Decides {
		if !slices.Contains(remembered, d.Flag) {
			t.Errorf("--%s decides outcomes, and is not remembered", d.Flag)
		}
	}
}
