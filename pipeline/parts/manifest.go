package parts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"

	"facescan/pipeline/detection"
	"facescan/store"
	"facescan/store/export"
	"facescan/store/figures"
)

// manifest says what a node's finished job holds. It is written last, so that where it is, the job is whole.
type manifest struct {
	Node     string `json:"node"`
	Detector string `json:"detector"`
	Total    int64  `json:"total"`
	OK       int64  `json:"ok"`
	Failed   int64  `json:"failed"`
	Faces    int64  `json:"faces"`
	SHA256   string `json:"sha256"` // of the job's CSV with the default columns
}

func manifestPath(job store.Job) string { return job.Path() + ".manifest.json" }

func manifestOf(ctx context.Context, job store.Job, settings map[string]string) (manifest, error) {
	c, err := job.Counts(ctx)
	if err != nil {
		return manifest{}, err
	}
	sum, err := checksum(ctx, job)
	return manifest{settings[store.NodeSetting], settings[detection.DetectorSetting], c.Total, c.OK,
		c.Failed, c.Faces, sum}, err
}

// WriteManifest leaves a manifest beside the finished job of a part of a list; it does nothing for any other
// job.
func WriteManifest(ctx context.Context, job store.Job) error {
	settings, err := job.Settings(ctx)
	if err != nil || settings[store.NodeSetting] == "" {
		return err
	}
	m, err := manifestOf(ctx, job, settings)
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = writeFile(manifestPath(job), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

// RenewManifest writes the manifest of a part again after rows of it were changed on purpose. One that has
// none gets none, and that of a part which has to go on stays, by which a merge refuses it.
func RenewManifest(ctx context.Context, job store.Job) error {
	if _, err := os.Stat(manifestPath(job)); err != nil {
		return nil // also for a job in PostgreSQL
	}
	c, err := job.Counts(ctx)
	if err != nil || c.Pending > 0 {
		return err
	}
	return WriteManifest(ctx, job)
}

// CheckManifest refuses a job that differs from its manifest; found is false if it has none.
func CheckManifest(ctx context.Context, job store.Job) (found bool, err error) {
	b, err := os.ReadFile(manifestPath(job))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var was manifest
	if err := json.Unmarshal(b, &was); err != nil {
		return true, fmt.Errorf("%s: %w", manifestPath(job), err)
	}
	settings, err := job.Settings(ctx)
	if err != nil {
		return true, err
	}
	now, err := manifestOf(ctx, job, settings)
	if err != nil {
		return true, err
	}
	if now != was {
		return true,
			fmt.Errorf("%s is not what %s says (%s): it was changed since, or copied before it was "+
				"finished; run it again, or remove the manifest to merge it as it is", job.Path(),
				manifestPath(job), now.against(was))
	}
	return true, nil
}

// against says how a job differs from its manifest.
func (m manifest) against(was manifest) string {
	mine, theirs := m.counts(), was.counts()
	if mine != theirs {
		return mine + ", not " + theirs
	}
	return "other results of " + mine
}

func (m manifest) counts() string {
	return fmt.Sprintf("%s, %d ok, %d failed, %s", figures.Of(m.Total, "row"), m.OK, m.Failed,
		figures.Of(m.Faces, "face"))
}

// writeFile writes a small file beside its place and puts it there when it is on the disk.
func writeFile(path string, b []byte) error {
	f, err := export.Create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(b); err != nil {
		f.Discard()
		return err
	}
	return f.Close()
}

// checksum is the SHA-256 of a job's CSV.
func checksum(ctx context.Context, job store.Job) (string, error) {
	h := sha256.New()
	w, err := export.New(h, export.Options{Credentials: true})
	if err != nil {
		return "", err
	}
	for r, err := range job.Results(ctx, 0, math.MaxInt64) {
		if err != nil {
			return "", err
		}
		if err := w.Write(r); err != nil {
			return "", err
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
