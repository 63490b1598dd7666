package sidecar

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"facescan/detect"
)

// candidatesKey is the parameter that requests faces below the threshold: the best ones, at most that many.
// The response then has the threshold as its parameter min_score.
const (
	candidatesKey = "candidates"
	// scaleKey is the scale of the sent images: full pixels per pixel. Sizes in flags are then in full pixels
	scaleKey    = "image_scale"
	minScoreKey = "min_score"
	detectorKey = "detector" // in metadata and responses: fingerprint of engine and model
)

// candidates is how many a client requests: as many as an answer holds.
const candidates = detect.KeepCandidates

// flag is a detection flag as a request parameter: its name, and how it is read and set.
type flag struct {
	name string
	get  func(*detect.Params) any // string, float64, or int
	set  func(*detect.Params, any) bool
}

// flagsOf are the flags of a kind of detector; all of them for a foreign model.
func flagsOf(k detect.Kind) []flag {
	if !k.Known() {
		return flags
	}
	return slices.DeleteFunc(slices.Clone(flags), func(f flag) bool {
		return slices.ContainsFunc(detect.Kinds(), func(other detect.Kind) bool {
			return other.Name != k.Name && slices.Contains(other.Flags, f.name)
		})
	})
}

var flags = []flag{
	{"min_face", func(p *detect.Params) any { return p.MinFace },
		func(p *detect.Params, v any) bool { return setInt(&p.MinFace, v) }},
	{"max_face", func(p *detect.Params) any { return p.MaxFace },
		func(p *detect.Params, v any) bool { return setInt(&p.MaxFace, v) }},
	{"shift", func(p *detect.Params) any { return p.Shift },
		func(p *detect.Params, v any) bool { return setFloat(&p.Shift, v) }},
	{"scale", func(p *detect.Params) any { return p.Scale },
		func(p *detect.Params, v any) bool { return setFloat(&p.Scale, v) }},
	{"iou", func(p *detect.Params) any { return p.Overlap() },
		func(p *detect.Params, v any) bool { return setFloat(&p.IoU, v) }},
	{minScoreKey, func(p *detect.Params) any { return p.MinScore },
		func(p *detect.Params, v any) bool { return setFloat(&p.MinScore, v) }},
	{"angles", func(p *detect.Params) any { return joinAngles(p.Angles) },
		func(p *detect.Params, v any) bool { return setAngles(&p.Angles, v) }},
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
	d := detect.Defaults(p.Detector)
	has := func(name string) bool { _, ok := listed[name]; return ok }
	for _, f := range flagsOf(k) {
		if v := f.get(&p); !has(f.name) && v != f.get(&d) {
			return nil, fmt.Errorf("no parameter %s, so --%s cannot be %v", f.name,
				strings.ReplaceAll(f.name, "_", "-"), v)
		}
	}
	out := parameters{}
	if has(scaleKey) {
		out[scaleKey] = scale
	} else { // sizes are in pixels of the sent image
		p.MinFace = max(1, int(float64(p.MinFace)/scale))
		p.MaxFace = int(math.Ceil(float64(p.MaxFace) / scale))
	}
	for _, f := range flagsOf(k) {
		if has(f.name) && (f.name != minScoreKey || p.MinScore != detect.Own) {
			out[f.name] = f.get(&p)
		}
	}
	if has(candidatesKey) {
		out[candidatesKey] = candidates
	}
	return out, nil
}

// asked is the content of a request's parameters.
type asked struct {
	detect.Params
	keep  int     // candidates
	scale float64 // of the images
}

// fromParameters reads the flags of a kind of detector from a request.
func fromParameters(k detect.Kind, m parameters) (asked, error) {
	a := asked{Params: detect.Defaults(k.Name), scale: 1}
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
			return a, fmt.Errorf("parameter %s: %v is no value for it", name, v)
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
