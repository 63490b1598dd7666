package pipeline

import (
	"sync"
	"time"
)

const (
	picturesKept = 3 * latestKept // some are of rows that are not committed yet
	pictureEvery = 250 * time.Millisecond
)

// Pictures are small pictures of the latest images with faces, for those who watch the run. They are few, and
// made at a pace that costs little.
type Pictures struct {
	mu    sync.Mutex
	due   time.Time // when the next one may be made
	order []int64   // rows, the latest last
	jpeg  map[int64][]byte
}

// Due reports whether a picture may be made now, which it then is to be.
func (p *Pictures) Due() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.due) {
		return false
	}
	p.due = now.Add(pictureEvery)
	return true
}

// Show takes in the picture of a row's image.
func (p *Pictures) Show(id int64, jpeg []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.jpeg == nil {
		p.jpeg = map[int64][]byte{}
	}
	if _, again := p.jpeg[id]; !again {
		p.order = append(p.order, id)
	}
	p.jpeg[id] = jpeg
	for len(p.order) > picturesKept {
		delete(p.jpeg, p.order[0])
		p.order = p.order[1:]
	}
}

// JPEG is the picture of a row's image; nil if there is none.
func (p *Pictures) JPEG(id int64) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.jpeg[id]
}
