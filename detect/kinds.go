package detect

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"facescan/detect/pigo"
	"facescan/detect/yunet"
)

// Names of the detectors. None means no detection: it is not a Kind, and New refuses it.
const (
	Yunet   = "yunet"
	Pigo    = "pigo"
	None    = "none"
	Default = Yunet
)

// Kind describes a built-in detector. The zero value stands for a foreign model, of whose scores nothing is
// known.
type Kind struct {
	Name  string
	Print string // its fingerprints, up to the flags
	Model string // the first part of it, which all versions share

	IoU      float64 // default of --iou
	MinScore float64 // default of --min-score
	MaxScore float64 // no score is above it
	Floor    float64 // least score of a candidate
	Decimals int     // of a score that is printed

	Landmarks bool // it finds them

	confidence func(score float64) float64
	open       func(Params) (Detector, error)
}

// kinds are the built-in detectors. A new one is a line here; TestKinds fails if the line is incomplete. They
// are set by init because their constructors read them.
var kinds []Kind

func init() {
	kinds = []Kind{
		{Name: Yunet, Print: fmt.Sprintf("yunet-%.8s/%d", yunet.Sum(), yunet.Version), Model: "yunet",
			IoU: yunet.DefaultIoU, MinScore: yunet.DefaultMinScore, MaxScore: 1, Floor: 0.3, Decimals: 4,
			Landmarks: true, confidence: yunetConfidence, open: newYunet},
		{Name: Pigo, Print: fmt.Sprintf("facefinder-%.8s/%d", pigo.Sum(), pigo.Version), Model: "facefinder",
			IoU: pigo.DefaultIoU, MinScore: pigo.DefaultMinScore, MaxScore: math.Inf(1), Decimals: 2,
			confidence: pigoConfidence, open: newPigo},
	}
}

// Kinds are the built-in detectors, the default first.
func Kinds() []Kind { return slices.Clone(kinds) }

// Names are the values of --detector.
func Names() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	return append(names, None)
}

// KindNamed returns the detector with a name; ok is false if there is none.
func KindNamed(name string) (k Kind, ok bool) {
	return kindWhere(func(k Kind) bool { return k.Name == name })
}

func kindWhere(is func(Kind) bool) (k Kind, ok bool) {
	i := slices.IndexFunc(kinds, is)
	if i < 0 {
		return Kind{}, false
	}
	return kinds[i], true
}

// KindOf returns the detector of a fingerprint, of any version, in this process or behind a sidecar; the zero
// Kind for a foreign model.
func KindOf(fingerprint string) Kind {
	m := builtIn.FindStringSubmatch(cutPrefix(fingerprint))
	if m == nil {
		return Kind{}
	}
	k, _ := kindWhere(func(k Kind) bool { return k.Model == m[1] })
	return k
}

// builtIn matches the fingerprints of built-in detectors: the model, the first digits of its checksum, and
// the version of its answers. A foreign name hardly matches by chance.
var builtIn = regexp.MustCompile(`^([a-z]+)-[0-9a-f]{8}/[0-9]+( |$)`)

// Known reports whether the detector is built in.
func (k Kind) Known() bool { return k.Name != "" }

// Confidence is the share of boxes with a score that are faces, as measured on annotated photos; 0 if
// unknown.
func (k Kind) Confidence(score float64) float64 {
	if k.confidence == nil {
		return 0
	}
	return k.confidence(score)
}

// Printed rounds a score to the decimals it is printed with; faces are sorted by it.
func (k Kind) Printed(score float64) float64 {
	if !k.Known() {
		return score
	}
	unit := math.Pow10(k.Decimals)
	return math.Round(score*unit) / unit
}

// Prefixes of the fingerprints of detectors in another process, which receive luma or files.
const (
	LumaPrefix    = "sidecar:"
	EncodedPrefix = "sidecar-encoded:"
)

// cutPrefix removes the prefix of a sidecar, if there is one, from the fingerprint of the detector behind it.
func cutPrefix(fingerprint string) (model string) {
	for _, p := range []string{LumaPrefix, EncodedPrefix} {
		if rest, ok := strings.CutPrefix(fingerprint, p); ok {
			return rest
		}
	}
	return fingerprint
}

// Same reports whether the detectors of two fingerprints give the same answers: if the fingerprints are
// equal, or name the same built-in detector with the same flags, in this process or another.
func Same(a, b string) bool { return slices.Contains(Equals(a), b) }

// Equals returns the fingerprints that are the Same as one, including itself.
func Equals(fingerprint string) []string {
	if !KindOf(fingerprint).Known() {
		return []string{fingerprint}
	}
	model := cutPrefix(fingerprint)
	return []string{model, LumaPrefix + model, EncodedPrefix + model}
}
