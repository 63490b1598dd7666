package cmd

import (
	"context"

	"facescan/pipeline"
	"facescan/store"
	"facescan/store/duplicates"
	"facescan/store/export"
	"facescan/store/hint"
)

// checkDuplicates validates --distance, and what does not go with --rows duplicates.
func (o *exportOptions) checkDuplicates() error {
	switch {
	case o.rows != "duplicates" && o.flags.Changed("distance"):
		return usagef("--distance says which pictures are similar: add --rows duplicates")
	case o.rows != "duplicates":
		return nil
	case o.distance < 0 || o.distance > duplicates.MaxDistance:
		return usagef("--distance %d: give 0 to %d; pictures that have nothing in common differ in some 32 "+
			"bits", o.distance, duplicates.MaxDistance)
	case o.follow:
		return usagef("--follow writes rows as they come, and duplicates are known when all pictures are: " +
			"leave one of them out")
	}
	return nil
}

// writeDuplicates writes the groups of equal and similar pictures.
func (o *exportOptions) writeDuplicates(ctx context.Context, g *globals, job store.Job,
	outs []*output) error {
	hashes, _, err := pipeline.ChooseHashes(ctx, job, nil)
	if err != nil {
		return err
	}
	groups, err := duplicates.Find(ctx, job, o.distance)
	if err != nil {
		return err
	}
	defer func() { _ = groups.Close() }() // removes a temporary folder
	switch {
	case groups.Pictures == 0 && hashes == (pipeline.Hashes{}):
		return usagef("no image of %[1]s has a hash: compute them with --hash sha256,phash: %[2]s; images "+
			"that are done get theirs after: %[3]s", job.Path(),
			hint.On("run", job.Path(), "--hash", "sha256,phash"), hint.On("rescan", job.Path(), "--all"))
	case !hashes.PHash && o.flags.Changed("distance") && o.distance > 0:
		g.report("facescan: the job computes no phash (run --hash phash): pictures without one are " +
			"compared by their bytes")
	}
	return writeAll(outs, groups.All(), export.Writer.WriteDuplicate)
}
