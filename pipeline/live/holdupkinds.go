package live

// Kinds of hold-ups: what keeps a run from being faster.
const (
	ByRate       = "rate"            // --rate
	ByBandwidth  = "bwlimit"         // --bwlimit
	ByPerHost    = "per_host"        // --per-host
	ByHostPace   = "host_pace"       // how many requests a host allows: 429, Retry-After
	ByRetries    = "retries"         // pauses before further attempts
	BySlowHosts  = "slow_hosts"      // --fetchers, all busy with servers that are slow
	ByFiles      = "open_files"      // the same, with fewer fetchers than requested
	ByMemory     = "memory"          // --memory
	ByWorkers    = "workers"         // decoders with their detection: --workers
	ByProcessors = "processors"      // all of this machine's
	BySidecar    = "sidecar"         // busy, stopped or unreachable
	ByStore      = "store"           // the job's disk, or database
	ByKeep       = "keep"            // the disk of kept files
	ByImport     = "import"          // the list, which is read more slowly than its rows are processed
	ByOutput     = "output"          // who reads --out
	ByOutage     = "outage"          // of this machine's network or resolver
	ByPause      = "paused"          // facescan pause
	ByOthers     = "other_processes" // they have the rows that are left
	ByTail       = "tail"            // the last rows in flight
)

// Holdups are all kinds.
var Holdups = []string{ByRate, ByBandwidth, ByPerHost, ByHostPace, ByRetries, BySlowHosts, ByFiles, ByMemory,
	ByWorkers,
	ByProcessors, BySidecar, ByStore, ByKeep, ByImport, ByOutput, ByOutage, ByPause, ByOthers, ByTail}

// Holdup is what keeps a run from being faster. The zero value is that nothing is known to.
type Holdup struct {
	Kind   string // one of Holdups
	What   string // as a noun: "--rate (40 requests per second)"
	Detail string // how it is right now; may be empty
	Advice string // what to change; may be empty
}

// String is what is shown to people.
func (h Holdup) String() string {
	text := h.Short()
	if h.Advice != "" {
		text += "; " + h.Advice
	}
	return text
}

// Short is String without advice.
func (h Holdup) Short() string {
	if h.Detail == "" {
		return h.What
	}
	return h.What + ": " + h.Detail
}

// Stage is the one that a Holdup is in, empty for those in none.
func (h Holdup) Stage() string {
	switch h.Kind {
	case ByRate, ByBandwidth, ByPerHost, ByHostPace, ByRetries, BySlowHosts, ByFiles:
		return "fetch"
	case ByWorkers:
		return "decode"
	case BySidecar:
		return "detect"
	case ByStore, ByKeep:
		return "commit"
	}
	return ""
}
