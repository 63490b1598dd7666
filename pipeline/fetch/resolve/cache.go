package resolve

import (
	"net/netip"
	"sync"
	"time"
)

// How long answers are remembered.
const (
	minTTL   = 10 * time.Second // so that a TTL of 0 does not mean one query per row
	maxTTL   = time.Hour
	maxNoTTL = 5 * time.Minute // of names that do not exist
	failTTL  = time.Second
	staleTTL = 24 * time.Hour // after its TTL, an answer may still serve
)

// entry is an answer: addresses, or an error.
type entry struct {
	addrs   []netip.Addr
	err     *Error
	expires time.Time
}

func (e entry) result(host string) ([]netip.Addr, error) {
	if e.err != nil {
		return nil, &Error{host, e.err.Kind, e.err.Err}
	}
	return e.addrs, nil
}

// cache stores answers in two generations: when the young one is full it becomes the old one, and entries
// that are used move to the young one. So it never holds more than max, and drops unused entries first,
// without lists.
type cache struct {
	max int

	mu         sync.Mutex
	young, old map[string]entry
}

// get returns the entry of a name, even if out of date, unless it is too old to serve at all.
func (c *cache) get(name string) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.young[name]
	if !ok {
		if e, ok = c.old[name]; ok {
			delete(c.old, name)
			c.insert(name, e)
		}
	}
	if ok && time.Since(e.expires) > staleTTL {
		delete(c.young, name)
		return entry{}, false
	}
	return e, ok
}

// put remembers an answer. A failure does not replace addresses, which may still have to serve.
func (c *cache) put(name string, e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.err != nil && e.err.Kind != NotFound {
		if was, ok := c.young[name]; ok && len(was.addrs) > 0 {
			return
		}
		if was, ok := c.old[name]; ok && len(was.addrs) > 0 {
			return
		}
	}
	delete(c.old, name)
	c.insert(name, e)
}

func (c *cache) insert(name string, e entry) {
	if _, ok := c.young[name]; !ok && len(c.young) >= c.max/2 {
		c.old, c.young = c.young, nil
	}
	if c.young == nil {
		c.young = map[string]entry{}
	}
	c.young[name] = e
}
