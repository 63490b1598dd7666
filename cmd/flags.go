package cmd

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"facescan/pipeline"
	"facescan/pipeline/doctor"
	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/resolve"
	"facescan/store"
	"facescan/store/sqlite"
)

// cores is how many processors this process may use, as of its start; a run raises Go's own number.
var cores = runtime.GOMAXPROCS(0)

// fetchOptions are the flags of a download.
type fetchOptions struct {
	timeout      time.Duration
	retries      int
	maxBytes     size
	maxRedirects int
	minRate      size
	rate         float64
	bandwidth    size
	userAgent    string
	headers      []string
	proxy        string
	insecure     bool
	allowPrivate bool
	allowFiles   []string
	blockHosts   string
	ignoreOptOut bool
	robots       bool
}

func (o *fetchOptions) addFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&o.timeout, "timeout", 30*time.Second,
		"limit per attempt, from connecting to the last byte")
	fs.IntVar(&o.retries, "retries", 2, "further attempts after a transient failure")
	o.maxBytes = 32 << 20
	fs.Var(&o.maxBytes, "max-bytes", "reject larger bodies (too_large)")
	fs.IntVar(&o.maxRedirects, "max-redirects", 10, "follow up to N redirects per download")
	fs.Var(&o.minRate, "min-rate", "minimum download speed, in bytes per second (too_slow); default: any")
	fs.Float64Var(&o.rate, "rate", 0, "requests per second, over all hosts; default: no limit")
	fs.Var(&o.bandwidth, "bwlimit",
		"download at most SIZE bytes per second, over all hosts; default: no limit")
	fs.StringVar(&o.userAgent, "user-agent", defaultUserAgent(), "User-Agent header to send")
	fs.StringArrayVar(&o.headers, "header", nil,
		"`header` to send to every host: 'Name: value'; to one: 'HOST=Name: value', the only form for "+
			"Authorization and Cookie; '@FILE' reads one per line; see facescan help politeness; "+
			"may be repeated")
	fs.StringVar(&o.proxy, "proxy", "",
		"`URL` of a proxy, or none; default: HTTP_PROXY, HTTPS_PROXY, NO_PROXY")
	fs.BoolVar(&o.insecure, "insecure", false, "accept any TLS certificate")
	fs.BoolVar(&o.allowPrivate, "allow-private", false, "also fetch from loopback and private addresses")
	fs.StringVar(&o.blockHosts, "block-hosts", "",
		"`file` of hosts to skip, with their subdomains; one per line")
	fs.BoolVar(&o.ignoreOptOut, "ignore-opt-out", false,
		"read images whose X-Robots-Tag asks not to; --robots is obeyed nevertheless")
	fs.BoolVar(&o.robots, "robots", false,
		"obey robots.txt, as the product that --user-agent names: disallowed rows are opt_out; crawl-delay "+
			"is kept, up to 1m; rows wait, about 30s, while it answers 5xx or 429")
}

func (o *fetchOptions) check() error {
	switch {
	case o.timeout <= 0:
		return usagef("--timeout %v: an attempt needs time; give 30s", o.timeout)
	case o.retries < 0 || o.retries > 100:
		return usagef("--retries %d: give 0 to 100", o.retries)
	case o.maxBytes <= 0:
		return usagef("--max-bytes %v: give a size such as 32MiB", &o.maxBytes)
	case !(o.rate >= 0):
		return usagef("--rate %v: give requests per second, or 0 for any", o.rate)
	case o.maxRedirects < 0:
		return usagef("--max-redirects %d: give 0 or more", o.maxRedirects)
	}
	return nil
}

func (o *fetchOptions) fetcher() (*fetch.Fetcher, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	f := fetch.Options{
		Timeout: o.timeout, MaxBytes: int64(o.maxBytes), MaxRedirects: o.maxRedirects,
		MinRate: int64(o.minRate), Rate: o.rate, Bandwidth: int64(o.bandwidth), UserAgent: o.userAgent,
		Proxy: o.proxy, Insecure: o.insecure, AllowPrivate: o.allowPrivate, IgnoreOptOut: o.ignoreOptOut,
		Robots:     o.robots,
		AllowFiles: o.allowFiles,
	}
	d := pipeline.ShareDescriptors()
	f.Conns, f.DNS.Queries = min(fetch.DefaultConns, d.Idle), min(resolve.DefaultQueries, d.Queries)
	for _, text := range o.headers {
		hs, err := readHeaders(text)
		if err != nil {
			return nil, err
		}
		f.Headers = append(f.Headers, hs...)
	}
	if o.blockHosts != "" {
		file, err := os.Open(o.blockHosts)
		if err != nil {
			return nil, usagef("--block-hosts: %w", err)
		}
		defer file.Close()
		if f.BlockHosts, err = fetch.ReadBlockList(file); err != nil {
			return nil, usagef("--block-hosts %s: %w", o.blockHosts, err)
		}
	}
	fetcher, err := fetch.New(f)
	if err != nil {
		return nil, &exit{exitUsage, err}
	}
	return fetcher, nil
}

// readHeaders reads one value of --header: a header, or @ and the name of a file of them.
func readHeaders(text string) ([]fetch.Header, error) {
	name, isFile := strings.CutPrefix(text, "@")
	if !isFile {
		h, err := fetch.ParseHeader(text)
		if err != nil {
			return nil, usagef("--header: %w", err)
		}
		return []fetch.Header{h}, nil
	}
	var hs []fetch.Header
	file, err := os.Open(name)
	if err == nil {
		defer file.Close()
		hs, err = fetch.ReadHeaders(file)
	}
	var inFile *os.PathError
	if errors.As(err, &inFile) {
		err = inFile.Err // its name comes before it
	}
	if err != nil {
		return nil, usagef("--header @%s: %w", name, err)
	}
	return hs, nil
}

// poolOptions are the flags that say how much is done at once.
type poolOptions struct {
	fetchers, workers int
	perHost           int
	memory            size
	outageWait        time.Duration
}

func (o *poolOptions) addFlags(fs *pflag.FlagSet) {
	fs.IntVar(&o.fetchers, "fetchers", 256, "fetches at once; twice as many rows may be in flight")
	fs.IntVar(&o.workers, "workers", 0, "images decoded and searched at once; default: one per core")
	o.memory = 256 << 20
	fs.Var(&o.memory, "memory", "budget for bodies and pixels")
	fs.IntVar(&o.perHost, "per-host", 32,
		"fetches at once per host, fewer while it is in trouble; 0 = no limit")
	fs.DurationVar(&o.outageWait, "outage-wait", time.Hour, "how long to wait while this machine is cut off")
}

func (o *poolOptions) check() error {
	switch {
	case o.fetchers < 1 || o.fetchers > 100_000:
		return usagef("--fetchers %d: give 1 to 100000", o.fetchers)
	case o.workers < 0 || o.workers > 4096:
		return usagef("--workers %d: give 1 to 4096, or 0 for one per core", o.workers)
	case o.memory < 1<<20:
		return usagef("--memory %v: give 1MiB or more", &o.memory)
	case o.perHost < 0:
		return usagef("--per-host %d cannot be negative; 0 is no limit", o.perHost)
	case o.outageWait < 0:
		return usagef("--outage-wait %v cannot be negative; give a time such as 1h", o.outageWait)
	}
	return nil
}

// set copies the flags into a run's options. There are no more fetchers than descriptors for them.
func (o *poolOptions) set(p *pipeline.Options) {
	p.Fetchers, p.Workers, p.PerHost, p.Memory, p.OutageWait = o.fetchers, o.workers, o.perHost,
		int64(o.memory), o.outageWait
	if p.Workers == 0 {
		p.Workers = cores
	}
	if d := pipeline.ShareDescriptors(); d.Fetchers < p.Fetchers {
		p.Fetchers, p.WantedFetchers = d.Fetchers, p.Fetchers
		p.Log.Warn(fmt.Sprintf("the system allows %d open files: running %d fetchers instead of %d; for "+
			"more, first type: ulimit -n %d",
			d.Limit, d.Fetchers, o.fetchers, max(doctor.EnoughDescriptors, 4*o.fetchers)))
	}
}

// sourceOptions are the flags that say how a list is read, and which job it goes into.
type sourceOptions struct {
	flags                           *pflag.FlagSet
	db                              string
	table                           string
	idColumn, urlColumn, doneColumn string
	groupColumn                     string
	groupEnd                        string
	keepColumns                     []string
	verifyHash                      string
	shardSize                       int
	node                            nodeFlag
	priority                        int
	leaseTTL                        time.Duration
	as                              string
	images                          bool
	watch                           bool
}

func (o *sourceOptions) addFlags(fs *pflag.FlagSet) {
	o.flags = fs
	fs.StringVar(&o.db, "db", "",
		"the `job` to work on: a file or postgres://…; default: LIST.facescan.db beside the "+
			"list")
	fs.StringVar(&o.table, "table", "", "`table` of a SQLite database to work on in place")
	fs.StringVar(&o.idColumn, "id-column", "", "`column` with the row ids; default: the position in the list")
	fs.StringVar(&o.urlColumn, "url-column", "", "`column` with the URLs; default: url")
	fs.StringVar(&o.doneColumn, "done-column", "", "`column` with the Done flag of a table; default: done")
	fs.StringVar(&o.groupColumn, "group-column", "", "`column` that groups rows, e.g. album")
	fs.StringVar(&o.groupEnd, "group-end", "",
		"`value` in the URL column that ends a group: its aggregate does not wait for the "+
			"end of the list")
	fs.StringSliceVar(&o.keepColumns, "keep-columns", nil,
		"`columns` to carry through to the export, e.g. album,note")
	fs.StringVar(&o.verifyHash, "verify-hash", "",
		"`column` with checksums of the images (md5, sha1, sha256 or sha512 in hex); others "+
			"are hash_mismatch")
	fs.IntVar(&o.shardSize, "shard-size", store.DefaultShardSize, "rows per shard")
	fs.Var(&o.node, "node", "take only rows whose id modulo N is i; auto: i and N of a whole Slurm array; "+
		"auto/N: i of a Slurm array or an indexed Kubernetes job")
	fs.IntVar(&o.priority, "priority", 0,
		"priority of these sources within the job, -20 to 20; each step doubles their share (default: 0)")
	fs.StringVar(&o.as, "as", "",
		"`name` of a stream on stdin without a beginning; its lines are appended to earlier "+
			"ones of this name")
	fs.BoolVar(&o.images, "images", false,
		"sources are folders, searched through, and uncompressed tar files of images; hidden "+
			"files and links are skipped, changed files are read again")
	fs.DurationVar(&o.leaseTTL, "lease-ttl", 30*time.Second, "how long a silent process keeps its shards")
}

func (o *sourceOptions) check() error {
	switch {
	case o.shardSize < 1 || o.shardSize > 10_000_000:
		return usagef("--shard-size %d: give 1 to 10000000 rows", o.shardSize)
	case o.priority < -20 || o.priority > 20:
		return usagef("--priority %d: give -20 to 20", o.priority)
	case o.leaseTTL < time.Second:
		return usagef("--lease-ttl %v: leases are renewed three times in it; give 1s or more", o.leaseTTL)
	case o.images:
		return o.checkImages()
	}
	return nil
}

// checkImages refuses flags that only lists have.
func (o *sourceOptions) checkImages() error {
	if o.node.value.Of > 0 {
		return usagef("--node (or FACESCAN_NODE) takes rows of a list by their numbers, and files have " +
			"none that are the same on every machine: leave --node out; several processes share one job, " +
			"and several machines one in PostgreSQL (--db postgres://…)")
	}
	for _, name := range []string{"table", "id-column", "url-column", "done-column", "group-column",
		"group-end", "keep-columns", "verify-hash", "as"} {
		if f := o.flags.Lookup(name); f.Changed {
			return usagef("--%s is for lists, and --images reads folders and tar files: leave one of them "+
				"out", name)
		}
	}
	return nil
}

// chosenPriority is nil when no other than the default was chosen, so that an earlier choice stays.
func (o *sourceOptions) chosenPriority() *int {
	if !o.flags.Changed("priority") {
		return nil
	}
	return &o.priority
}

func (o *sourceOptions) tableOptions() sqlite.TableOptions {
	return sqlite.TableOptions{Table: o.table, ID: o.idColumn, URL: o.urlColumn, Done: o.doneColumn,
		Group: o.groupColumn, Hash: o.verifyHash, Keep: o.keepColumns}
}
