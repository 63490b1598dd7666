package resolve

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// recheck is how often the system's files are looked at for changes, such as a laptop's move to another
// network.
const recheck = 5 * time.Second

// system is this machine's own configuration: its hosts file and its upstreams.
type system struct {
	o *Options

	mu        sync.Mutex
	checked   time.Time
	hosts     map[string][]netip.Addr // nil if there is no file
	hostsMod  time.Time
	upstreams []string // empty before the first look
	search    []string
	configMod time.Time
}

// refresh reads what has changed.
func (s *system) refresh() {
	if time.Since(s.checked) < recheck {
		return
	}
	s.checked = time.Now()
	if mod := modified(s.o.Hosts); !mod.Equal(s.hostsMod) {
		s.hostsMod, s.hosts = mod, readHosts(s.o.Hosts)
	}
	if mod := modified(s.o.Config); !mod.Equal(s.configMod) || len(s.upstreams) == 0 {
		s.configMod = mod
		s.upstreams, s.search = nil, nil
		if c, err := dns.ClientConfigFromFile(s.o.Config); err == nil {
			s.search = c.Search
			for _, a := range c.Servers {
				s.upstreams = append(s.upstreams, net.JoinHostPort(a, c.Port))
			}
		}
		if len(s.upstreams) == 0 { // as the C library does
			s.upstreams = []string{"127.0.0.1:53", "[::1]:53"}
		}
	}
}

func modified(file string) time.Time {
	i, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return i.ModTime()
}

// host returns the addresses that the hosts file gives a name, nil for none.
func (s *system) host(name string) []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.hosts[name]
}

// servers lists the upstreams, at least one.
func (s *system) servers() []string {
	if len(s.o.Servers) > 0 {
		return s.o.Servers
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.upstreams
}

// names lists what to ask for: the name itself, and for one without a dot the search list's first.
func (s *system) names(name string) []string {
	if strings.Contains(name, ".") {
		return []string{name}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	var names []string
	for _, d := range s.search {
		names = append(names, name+"."+d)
	}
	return append(names, name)
}

func readHosts(file string) map[string][]netip.Addr {
	hosts := map[string][]netip.Addr{}
	f, err := os.Open(file)
	if err != nil {
		return hosts
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		ip, err := netip.ParseAddr(words[0])
		if err != nil || ip.Zone() != "" {
			continue
		}
		for _, w := range words[1:] {
			w = strings.ToLower(strings.TrimSuffix(w, "."))
			hosts[w] = append(hosts[w], ip)
		}
	}
	return hosts
}
