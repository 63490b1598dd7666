package pipeline

import (
	"fmt"
	"time"

	"facescan/pipeline/crash"
	"facescan/pipeline/fetch/host"
)

// outage is told by the queue when our own link, or resolver, is gone and when it is back. The queue hands out no
// row meanwhile and spends none on it; what is left to do is to say so, and to give up when it lasts too long.
func (r *run) outage(o host.Outage) {
	r.stats.setOutage(o, false)
	if !o.On {
		if o.Alone {
			r.Log.Warn("no host of the job answers, but the resolver does: time-outs count as the rows' own")
		}
		r.Log.Info("the outage is over: going on", "lasted", time.Since(o.Since).Round(time.Second))
		if r.patience != nil {
			r.patience.Stop()
		}
		return
	}
	r.Log.Warn("this machine seems cut off: waiting, no row is spent on it", "cause", o.Cause, "at most", r.OutageWait)
	r.patience = time.AfterFunc(r.OutageWait, func() {
		defer crash.Exit()
		r.abort(fmt.Errorf("this machine has been cut off for %v (%s); nothing is lost: mend it, then run the same command again, "+
			"or allow more with --outage-wait", r.OutageWait, o.Cause))
	})
}
