package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"log"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// manyHosts is how many hosts the lists of tiny pictures name, each an address of loopback.
const manyHosts = 1000

// hosts measures whole runs over many hosts, with pictures so tiny that fetching, dispatch and storing are
// what counts; client and server share the machine.
func hosts(exe, dir string) {
	fmt.Printf("\nTiny pictures over %d hosts of loopback, each run whole: import, fetch, decode, "+
		"search, store.\n\n", manyHosts)
	fmt.Println("| what | URLs/s | ms CPU a URL | of it the server's | RSS at a quarter, MB | peak RSS, MB " +
		"|\n|---|---|---|---|---|---|")
	hostsRun(exe, filepath.Join(dir, "plain"), "http", 100_000)
	hostsRun(exe, filepath.Join(dir, "tls"), "https", 80*manyHosts)
}

func hostsRun(exe, dir, scheme string, n int) {
	check(os.Mkdir(dir, 0o755))
	list := filepath.Join(dir, "urls.txt")
	server, stop := startSelf(list, nil, "-serve", dir, "-scheme", scheme, "-n", strconv.Itoa(n))

	c := exec.Command(exe, "run", list, "--allow-private", "--progress", "none", "-q")
	c.Env = append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(dir, "ca.pem"))
	c.Stderr = os.Stderr
	begin := time.Now()
	check(c.Start())
	quarter := make(chan float64, 1)
	over := make(chan struct{})
	go func() { quarter <- rssWhen(exe, list, c.Process.Pid, n/4, over) }()
	check(c.Wait())
	took := time.Since(begin)
	close(over)
	stop()

	out, err := exec.Command(exe, "export", list, "--where", "status = 'ok'", "--columns", "id").Output()
	check(err)
	if ok := bytes.Count(out, []byte("\n")) - 1; ok != n {
		log.Fatalf("%d of %d rows are ok", ok, n)
	}
	peak := float64(c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1e3
	fmt.Printf("| %d URLs, %s, %d a host | %.0f | %.3f | %.3f | %.0f | %.0f |\n", n, scheme, n/manyHosts,
		float64(n)/took.Seconds(), cpuOf(c, n)+cpuOf(server, n), cpuOf(server, n), <-quarter, peak)
}

// rssWhen is the resident memory of a run, in MB, once the writer's file shows that many rows done.
func rssWhen(exe, list string, pid, rows int, over chan struct{}) float64 {
	for {
		select {
		case <-over:
			return 0
		case <-time.After(200 * time.Millisecond):
		}
		out, err := exec.Command(exe, "status", list, "--json").Output()
		_, rest, ok := strings.Cut(string(out), `"done":`)
		if err != nil || !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, ",")
		if done, _ := strconv.Atoi(digits); done < rows {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if f := strings.Fields(string(b)); err == nil && len(f) > 1 {
			pages, _ := strconv.Atoi(f[1])
			return float64(pages*os.Getpagesize()) / 1e6
		}
	}
}

// serveHosts serves tiny pictures on as many addresses as there are hosts, and writes a list of n URLs which
// takes the hosts in turn, until standard input ends.
func serveHosts(dir, scheme string, n int) {
	s := fetchtest.New(tiny(), 0)
	defer s.Close()
	authority := newAuthority(filepath.Join(dir, "ca.pem"))
	var bases []string
	for i := range manyHosts {
		addr := fmt.Sprintf("127.1.%d.%d", i/250, 1+i%250)
		if scheme == "https" {
			bases = append(bases, s.ListenTLS(addr+":0", authority.issue(addr)))
		} else {
			bases = append(bases, s.Listen(addr+":0"))
		}
	}
	publish(filepath.Join(dir, "urls.txt"),
		urls(n, func(i int) string { return fmt.Sprintf("%s/i/%d/%d.jpg", bases[i%len(bases)], i, i) }))
	untilParentEnds()
}

// tiny are pictures of 32x24.
func tiny() map[string][]byte {
	images := map[string][]byte{}
	for i := range 8 {
		m := image.NewGray(image.Rect(0, 0, 32, 24))
		for y := range 24 {
			for x := range 32 {
				m.SetGray(x, y, color.Gray{Y: uint8(x*8 + y*i)})
			}
		}
		var b bytes.Buffer
		check(jpeg.Encode(&b, m, nil))
		images[fmt.Sprintf("%d.jpg", i)] = b.Bytes()
	}
	return images
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(file string) *authority {
	a := &authority{}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour)}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, &a.key.PublicKey, a.key)
	check(err)
	check(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	return a
}

func (a *authority) issue(addr string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()),
		IPAddresses: []net.IP{net.ParseIP(addr)}, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, &key.PublicKey, a.key)
	check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
