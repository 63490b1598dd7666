package sidecar

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"facescan/detect"
)

// candidatesKey is the parameter by which the answer also holds the best faces below the threshold, so many
// of them at most. The response then tells the threshold, as its parameter min_score.
const (
	candidatesKey = "candidates"
	// of the sent images: pixels of the full one a pixel of it. Sizes in flags are in full pixels then
	scaleKey    = "image_scale"
	minScoreKey = "min_score"
	detectorKey = "detector" // in metadata and responses: fingerprint of engine and model
)

// candidates is how many a client asks for: as many as a detector keeps.
const candidates = detect.KeepCandidates

// flag is a detection flag on its way: how it is called, and how it is read and set.
type flag struct {
	name string
	get  func(*detect.Params) any // string, float64, or int
	set  func(*detect.Params, any) bool
}

// flagsOf are the flags of a kind of detector; all of them for a model of others.
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

// transport are parameters of the protocol itself and its dialects: they do not change what is found.
var transport = map[string]bool{
	"binary_data_output": true, "priority": true, "timeout": true, "content_type": true, "headers": true,
	"sequence_id": true, "sequence_start": true, "sequence_end": true,
}

// list tells a client which parameters a kind of detector has, each with its default.
func list(k detect.Kind) parameters {
	p := detect.Defaults(k.Name)
	out := parameters{detectorKey: k.Print, candidatesKey: 0, scaleKey: 1}
	for _, f := range flagsOf(k) {
		out[f.name] = f.get(&p)
	}
	out[minScoreKey] = p.Threshold()
	return out
}

// toParameters puts flags into a request, for images of a scale, to a server that lists these. What it does
// not list cannot travel and must be the default.
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
	} else { // sizes are in pixels of what is sent
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

// asked is what the parameters of a request ask for.
type asked struct {
	detect.Params
	keep  int     // candidates
	scale float64 // of the images
}

// fromParameters reads flags of a kind of detector out of a request.
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
