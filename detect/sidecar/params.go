package sidecar

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"facescan/detect"
)

// candidatesKey is the parameter by which the answer also holds the best faces below the threshold, so many of them at most.
// The response then tells the threshold, as its parameter min_score.
const (
	candidatesKey = "candidates"
	minScoreKey   = "min_score"
	detectorKey   = "detector" // in metadata and responses: fingerprint of engine and model
)

// candidates is how many a client asks for: as many as a detector keeps.
const candidates = 8

// flag is a detection flag on its way: how it is called, and how it is read and set.
type flag struct {
	name string
	get  func(*detect.Params) any // string, float64, bool, or int
	set  func(*detect.Params, any) bool
}

var flags = []flag{
	{"min_face", func(p *detect.Params) any { return p.MinFace }, func(p *detect.Params, v any) bool { return setInt(&p.MinFace, v) }},
	{"max_face", func(p *detect.Params) any { return p.MaxFace }, func(p *detect.Params, v any) bool { return setInt(&p.MaxFace, v) }},
	{"shift", func(p *detect.Params) any { return p.Shift }, func(p *detect.Params, v any) bool { return setFloat(&p.Shift, v) }},
	{"scale", func(p *detect.Params) any { return p.Scale }, func(p *detect.Params, v any) bool { return setFloat(&p.Scale, v) }},
	{"iou", func(p *detect.Params) any { return p.IoU }, func(p *detect.Params, v any) bool { return setFloat(&p.IoU, v) }},
	{minScoreKey, func(p *detect.Params) any { return p.MinScore }, func(p *detect.Params, v any) bool { return setFloat(&p.MinScore, v) }},
	{"angles", func(p *detect.Params) any { return joinAngles(p.Angles) }, func(p *detect.Params, v any) bool { return setAngles(&p.Angles, v) }},
	{"verify_faces", func(p *detect.Params) any { return p.Verify }, func(p *detect.Params, v any) bool { return setBool(&p.Verify, v) }},
}

// transport are parameters of the protocol itself and its dialects: they do not change what is found.
var transport = map[string]bool{
	"binary_data_output": true, "priority": true, "timeout": true, "content_type": true, "headers": true,
	"sequence_id": true, "sequence_start": true, "sequence_end": true,
}

// list tells a client which parameters there are, each with its default.
func list(detector string) parameters {
	p := detect.DefaultParams()
	out := parameters{detectorKey: detector, candidatesKey: 0}
	for _, f := range flags {
		out[f.name] = f.get(&p)
	}
	out[minScoreKey] = p.Threshold()
	return out
}

// toParameters puts flags into a request to a server that lists these. What it does not list cannot travel and must be the default.
func toParameters(p detect.Params, listed parameters) (parameters, error) {
	d := detect.DefaultParams()
	out := parameters{}
	for _, f := range flags {
		v := f.get(&p)
		switch _, ok := listed[f.name]; {
		case ok && f.name == minScoreKey && p.MinScore == detect.OwnScore: // the server's own
		case ok:
			out[f.name] = v
		case v != f.get(&d):
			return nil, fmt.Errorf("no parameter %s, so --%s cannot be %v", f.name, strings.ReplaceAll(f.name, "_", "-"), v)
		}
	}
	if _, ok := listed[candidatesKey]; ok {
		out[candidatesKey] = candidates
	}
	return out, nil
}

// fromParameters reads flags out of a request.
func fromParameters(m parameters) (p detect.Params, keep int, err error) {
	p = detect.DefaultParams()
	for name, v := range m {
		if transport[name] {
			continue
		}
		set := func(v any) bool { return setInt(&keep, v) && keep >= 0 && keep <= candidates }
		if name != candidatesKey {
			i := slices.IndexFunc(flags, func(f flag) bool { return f.name == name })
			if i < 0 {
				return p, 0, fmt.Errorf("parameter %q is not known; the model's metadata lists those that are", name)
			}
			set = func(v any) bool { return flags[i].set(&p, v) }
		}
		if !set(v) {
			return p, 0, fmt.Errorf("parameter %s: %v is no value for it", name, v)
		}
	}
	return p, keep, p.Validate()
}

// at is what has to be asked for when an image is sent at a scale: sizes are in pixels of what is sent.
func at(p detect.Params, scale float64) detect.Params {
	p.MinFace = max(1, int(float64(p.MinFace)/scale))
	if p.MaxFace != 0 {
		p.MaxFace = int(math.Ceil(float64(p.MaxFace) / scale))
	}
	return p
}

func setInt(to *int, v any) bool {
	f, ok := v.(float64)
	*to = int(f)
	return ok && float64(*to) == f && f >= -1<<31 && f < 1<<31
}

func setFloat(to *float64, v any) (ok bool) { *to, ok = v.(float64); return ok }

func setBool(to *bool, v any) (ok bool) { *to, ok = v.(bool); return ok }

func joinAngles(angles []float64) string {
	parts := make([]string, len(angles))
	for i, a := range angles {
		parts[i] = strconv.FormatFloat(a, 'g', -1, 64)
	}
	return strings.Join(parts, ",")
}

func setAngles(to *[]float64, v any) bool {
	text, ok := v.(string)
	*to = nil
	if !ok || text == "" {
		return ok
	}
	for part := range strings.SplitSeq(text, ",") {
		a, err := strconv.ParseFloat(part, 64)
		if err != nil || len(*to) == 32 {
			return false
		}
		*to = append(*to, a)
	}
	return true
}
