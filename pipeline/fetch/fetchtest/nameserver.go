package fetchtest

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// NameServer serves DNS by UDP and TCP on one loopback port until the test ends, and returns its address.
func NameServer(t testing.TB, h dns.Handler) string {
	t.Helper()
	var p net.PacketConn
	var l net.Listener
	err := fmt.Errorf("no port is free for both protocols")
	for range 20 {
		if p, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			break
		}
		if l, err = net.Listen("tcp", p.LocalAddr().String()); err == nil {
			break
		}
		_ = p.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	for _, s := range []*dns.Server{{PacketConn: p, Handler: h}, {Listener: l, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		running.Go(func() { _ = s.ActivateAndServe() })
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return p.LocalAddr().String()
}

// Record reads a resource record, as in a zone file. It panics if it is none.
func Record(text string, args ...any) dns.RR {
	rr, err := dns.NewRR(fmt.Sprintf(text, args...))
	if err != nil {
		panic(err)
	}
	return rr
}
