package sidecar

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"facescan/detect"
)

// Parameters besides the detection flags.
const (
	// candidatesKey requests faces below the threshold: the best ones, at most that many. The response then
	// has the threshold as its parameter min_score.
	candidatesKey = "candidates"
	// scaleKey is the scale of the sent images: full pixels per pixel. Sizes in flags are then in full
	// pixels.
	scaleKey    = "image_scale"
	minScoreKey = "min_score"
	detectorKey = "detector" // in metadata and responses: fingerprint of engine and model
)

const (
	// candidates is how many a client requests: as many as an answer holds.
	candidates = detect.KeepCandidates
	maxAngles  = 32 // in a request
)

// flag is a detection flag as a request parameter.
type flag struct {
	detect.Flag
	name string
}

// flagsOf are the flags of a kind of detector; all of them for a foreign model.
func flagsOf(k detect.Kind) []flag {
	var of []flag
	for _, f := range detect.Flags() {
		if f.Has(k.Name) {
			of = append(of, flag{f, strings.ReplaceAll(f.Name, "-", "_")})
		}
	}
	return of
}

// get returns the value as it is sent. A threshold that is the detector's own is not sent, so it is not
// resolved.
func (f flag) get(p *detect.Params) any {
	if f.name == minScoreKey {
		return p.MinScore
	}
	v := f.Value(*p)
	if angles, ok := v.([]float64); ok {
		return detect.JoinAngles(angles)
	}
	return v
}

// set reads a value from a request; false if it is none for the flag.
func (f flag) set(p *detect.Params, v any) bool {
	switch to := f.Field(p).(type) {
	case *int:
		return setInt(to, v)
	case *float64:
		return setFloat(to, v)
	case *[]float64:
		text, ok := v.(string)
		angles, err := detect.ParseAngles(text)
		*to = angles
		return ok && err == nil && len(angles) <= maxAngles
	}
	return false
}

// transport are parameters of the protocol and its dialects, which do not change what is found.
var transport = map[string]bool{
	"binary_data_output": true, "priority": true, "timeout": true, "content_type": true, "headers": true,
	"sequence_id": true, "sequence_start": true, "sequence_end": true,
}

// list returns the parameters of a kind of detector with their defaults, for the metadata.
func list(k detect.Kind) parameters {
	p := detect.Defaults(k.Name)
	out := parameters{detectorKey: k.Print, candidatesKey: 0, scaleKey: 1}
	for _, f := range flagsOf(k) {
		out[f.name] = f.get(&p)
	}
	out[minScoreKey] = p.Threshold()
	return out
}

// toParameters turns flags into request parameters, for images of a scale, and a server that lists these. A
// flag that it does not list cannot be sent and must have its default.
func toParameters(p detect.Params, scale float64, listed parameters) (parameters, error) {
	k, _ := detect.KindNamed(p.Detector)
	flags, d := flagsOf(k), detect.Defaults(p.Detector)
	has := func(name string) bool { _, ok := listed[name]; return ok }
	for _, f := range flags {
		if v := f.get(&p); !has(f.name) && v != f.get(&d) {
			return nil, fmt.Errorf("no parameter %s, so --%s cannot be %v", f.name, f.Name, v)
		}
	}
	out := parameters{}
	if has(scaleKey) {
		out[scaleKey] = scale
	} else { // sizes are in pixels of the sent image
		p.MinFace = max(1, int(float64(p.MinFace)/scale))
		p.MaxFace = int(math.Ceil(float64(p.MaxFace) / scale))
	}
	for _, f := range flags {
		if has(f.name) && (f.name != minScoreKey || p.MinScore != detect.Own) {
			out[f.name] = f.get(&p)
		}
	}
	if has(candidatesKey) {
		out[candidatesKey] = candidates
	}
	return out, nil
}

// requested is the content of a request's parameters.
type requested struct {
	detect.Params
	keep  int     // candidates, at most
	scale float64 // of the images
}

// fromParameters reads the flags of a kind of detector from a request.
func fromParameters(k detect.Kind, m parameters) (requested, error) {
	a := requested{Params: detect.Defaults(k.Name), scale: 1}
	flags := flagsOf(k)
	for name, v := range m {
		ok := true
		switch i := slices.IndexFunc(flags, func(f flag) bool { return f.name == name }); {
		case i >= 0:
			ok = flags[i].set(&a.Params, v)
		case name == candidatesKey:
			ok = setInt(&a.keep, v) && a.keep >= 0 && a.keep <= candidates
		case name == scaleKey:
			ok = setFloat(&a.scale, v) && a.scale >= 1 && a.scale <= 1024
		case !transport[name]:
			return a, fmt.Errorf("parameter %q is not known; the model's metadata lists those that are", name)
		}
		if !ok {
			return a, fmt.Errorf("parameter %s: %v is not a value for it", name, v)
		}
	}
	return a, a.Validate()
}

func setInt(to *int, v any) bool {
	f, ok := v.(float64)
	*to = int(f)
	return ok && float64(*to) == f && f >= -1<<31 && f < 1<<31
}

func setFloat(to *float64, v any) (ok bool) { *to, ok = v.(float64); return ok }
