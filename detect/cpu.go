package detect

import (
	"context"
	"fmt"
	"sync"

	"facescan/detect/cascade"
)

// New is the default detector: the embedded cascade on this machine's processor.
func New(p Params) (Detector, error) {
	c, err := cascade.Parse(Facefinder)
	if err != nil {
		return nil, fmt.Errorf("embedded cascade: %w", err)
	}
	e := new(cpuEngine)
	e.searchers.New = func() any { return cascade.NewSearcher(c) }
	return NewWith(p, e)
}

// cpuEngine is our own evaluator, a searcher for every goroutine that asks.
type cpuEngine struct{ searchers sync.Pool }

func (e *cpuEngine) Run(ctx context.Context, searches []Search) error {
	searcher := e.searchers.Get().(*cascade.Searcher)
	defer e.searchers.Put(searcher)
	for i := range searches {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := &searches[i]
		s.Found = searcher.Search(s.Found, s.Luma, s.Params)
	}
	return ctx.Err()
}

func (e *cpuEngine) Close() error { return nil }
