//go:build ignore

// This program makes weights.bin: it takes the float weights of YuNet-s out of the package that publishes
// them and turns them into the integers of this package, with the scales of ranges.txt.
//
//	go run generate.go                  needs python3 with pip, to fetch the package
//	go run generate.go -floats FILE     writes the float weights as JSON instead, by symbol, for comparisons
package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// The package on PyPI, BSD 3-Clause by Shiqi Yu, and the library in it that carries the weights as named
// symbols.
const (
	pypi       = "yuface==2023.5.1"
	wheelSum   = "fd03270a672da75b89809a2c999d5728ef19c6e701408a4d0bc9c00480c864a0"
	library    = "yuface/libfacedetection.so"
	librarySum = "7fc3c140b563f449ce7cb5bd102ece650681e5bfeffc87efe79272be1932c4f4"
)

// block is a 1x1 convolution followed by a depthwise 3x3 convolution.
type block struct {
	name, from string   // from: the tensor that it reads
	parts      []string // symbols; a head consists of four, side by side
}

func one(name, from, symbol string) block { return block{name, from, []string{symbol}} }

func head(name, from string, level int) block {
	b := block{name: name, from: from}
	for _, part := range []string{"cls", "obj", "bbox", "kps"} {
		b.parts = append(b.parts, fmt.Sprintf("bbox_head__multi_level_%s__%d", part, level))
	}
	return b
}

// blocks are in the order in which the package runs them.
var blocks = []block{
	one("half", "stem", "backbone__model0_dp"),
	one("quarter1", "half", "backbone__model1_dp1"),
	one("quarter2", "quarter1", "backbone__model1_dp2"),
	one("quarter3", "quarter2", "backbone__model2_dp1"),
	one("quarter4", "quarter3", "backbone__model2_dp2"),
	one("eighth1", "quarter4", "backbone__model3_dp1"),
	one("eighth2", "eighth1", "backbone__model3_dp2"),
	one("sixteenth1", "eighth2", "backbone__model4_dp1"),
	one("sixteenth2", "sixteenth1", "backbone__model4_dp2"),
	one("thirtysecond1", "sixteenth2", "backbone__model5_dp1"),
	one("thirtysecond2", "thirtysecond1", "backbone__model5_dp2"),
	one("neck32", "thirtysecond2", "neck__lateral_convs__2"),
	one("neck16", "sum16", "neck__lateral_convs__1"),
	one("neck8", "sum8", "neck__lateral_convs__0"),
	head("head8", "neck8", 0),
	head("head16", "neck16", 1),
	head("head32", "neck32", 2),
}

// added are tensors that are summed: the two terms and their sum must share one scale.
var added = [][3]string{{"sixteenth2", "neck32", "sum16"}, {"eighth2", "neck16", "sum8"}}

const (
	fraction = 4 // bits below an activation's unit in what the 3x3 convolution sums
	headroom = 1.5
)

func main() {
	log.SetFlags(0)
	floats := flag.String("floats", "", "file for the float weights")
	flag.Parse()
	tensors, err := readTensors()
	if err != nil {
		log.Fatal(err)
	}
	if *floats != "" {
		text, err := json.Marshal(tensors)
		if err == nil {
			err = os.WriteFile(*floats, text, 0o644)
		}
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	cal, err := readCalibration("ranges.txt")
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("weights.bin", quantise(tensors, cal), 0o644); err != nil {
		log.Fatal(err)
	}
}

// readTensors downloads the wheel and returns its weights by symbol.
func readTensors() (map[string][]float64, error) {
	dir, err := os.MkdirTemp("", "yunet")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	pip := exec.Command("python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
		"--python-version", "3.11", "--platform", "manylinux2014_x86_64", "--dest", dir, pypi)
	pip.Stderr = os.Stderr
	if err := pip.Run(); err != nil {
		return nil, fmt.Errorf("pip download %s: %w", pypi, err)
	}
	wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return nil, fmt.Errorf("pip downloaded %d wheels of %s, not one", len(wheels), pypi)
	}
	wheel, err := os.ReadFile(wheels[0])
	if err != nil {
		return nil, err
	}
	if err := check("the wheel of "+pypi, wheel, wheelSum); err != nil {
		return nil, err
	}
	archive, err := zip.NewReader(bytes.NewReader(wheel), int64(len(wheel)))
	if err != nil {
		return nil, err
	}
	file, err := archive.Open(library)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	so, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	if err := check(library, so, librarySum); err != nil {
		return nil, err
	}
	return symbols(so)
}

func check(what string, data []byte, want string) error {
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != want {
		return fmt.Errorf("%s has SHA-256 %s, not %s", what, got, want)
	}
	return nil
}

// symbols reads the float32 arrays of a library by the names of their symbols.
func symbols(so []byte) (map[string][]float64, error) {
	f, err := elf.NewFile(bytes.NewReader(so))
	if err != nil {
		return nil, err
	}
	all, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	tensors := map[string][]float64{}
	for _, s := range all {
		if elf.ST_TYPE(s.Info) != elf.STT_OBJECT || !strings.HasSuffix(s.Name, "weight") &&
			!strings.HasSuffix(s.Name, "bias") {
			continue
		}
		section := f.Sections[s.Section]
		raw := make([]byte, s.Size)
		if _, err := section.ReadAt(raw, int64(s.Value-section.Addr)); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		values := make([]float64, len(raw)/4)
		for i := range values {
			values[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])))
		}
		tensors[s.Name] = values
	}
	return tensors, nil
}

// calibration holds the reach of each channel, by tensor.
type calibration struct{ output, inner, head map[string][]float64 }

func readCalibration(path string) (calibration, error) {
	c := calibration{map[string][]float64{}, map[string][]float64{}, map[string][]float64{}}
	f, err := os.Open(path)
	if err != nil {
		return c, err
	}
	defer f.Close()
	var into map[string][]float64
	var name string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "\t"):
			for _, w := range words {
				v, err := strconv.ParseFloat(w, 64)
				if err != nil {
					return c, err
				}
				into[name] = append(into[name], v)
			}
		case len(words) == 2:
			into = map[string]map[string][]float64{"output": c.output, "inner": c.inner,
				"head": c.head}[words[0]]
			name = words[1]
			if into == nil {
				return c, fmt.Errorf("%s: unknown kind %q", path, words[0])
			}
		}
	}
	return c, lines.Err()
}

// units returns the value of one unit of each 8-bit activation tensor, per channel. One scale for the whole
// tensor wastes bits on quiet channels, a scale per channel makes the next weights too uneven: units are
// half-way between the two.
func (c calibration) units() map[string][]float64 {
	units := map[string][]float64{}
	for name, reach := range c.output {
		top := 1e-6
		for _, r := range reach {
			top = max(top, r)
		}
		u := make([]float64, len(reach))
		for i, r := range reach {
			u[i] = max(r, math.Sqrt(max(r, top/16)*top))
		}
		units[name] = u
	}
	for _, sum := range added {
		for i := range units[sum[0]] {
			u := max(units[sum[0]][i], units[sum[1]][i], units[sum[2]][i])
			units[sum[0]][i], units[sum[1]][i], units[sum[2]][i] = u, u, u
		}
	}
	for _, u := range units {
		for i := range u {
			u[i] /= 255
		}
	}
	return units
}

// quantise writes the integer network in the format of weights.go.
func quantise(tensors map[string][]float64, cal calibration) []byte {
	units := cal.units()
	var out bytes.Buffer
	put := func(v any) { binary.Write(&out, binary.LittleEndian, v) } // a Buffer never fails

	writeStem(put, tensors, units["stem"])
	for _, b := range blocks {
		writeBlock(put, b, tensors, units, cal)
	}
	return out.Bytes()
}

// writeStem writes the first convolution, 3x3 with stride 2. It was trained on three colours; on luma they
// are equal, so their weights add up.
func writeStem(put func(any), tensors map[string][]float64, unit []float64) {
	const channels, perFilter = 16, 32 // of 32 weights 27 are used: row, column, colour
	raw, bias := tensors["backbone__model0_pw_weight"], tensors["backbone__model0_pw_bias"]
	var weights [channels][9]int8
	var scale [channels]float64
	most := 0
	for c := range channels {
		var w [9]float64
		for k := range w {
			w[k] = raw[c*perFilter+3*k] + raw[c*perFilter+3*k+1] + raw[c*perFilter+3*k+2]
		}
		scale[c] = reach(w[:]) / 127
		sum := 0
		for k := range w {
			weights[c][k] = int8(math.RoundToEven(w[k] / scale[c]))
			sum += max(int(weights[c][k]), -int(weights[c][k]))
		}
		most = max(most, 255*sum)
	}
	shift := max(0, int(math.Ceil(math.Log2(float64(most)/math.MaxInt16))))
	biases, factors := make([]int32, channels), make([]int16, channels)
	for c := range channels {
		biases[c] = int32(math.RoundToEven(bias[c]/scale[c] + float64(int(1)<<shift>>1)))
		factors[c] = int16(math.RoundToEven(scale[c] * float64(int(1)<<shift) / unit[c] * 32768))
	}
	put(weights)
	put(biases)
	put(uint8(shift))
	put(factors)
}

func writeBlock(put func(any), b block, tensors map[string][]float64, units map[string][]float64,
	cal calibration) {
	var point, pointBias, depthBias []float64
	var depth [][]float64 // per channel, nine taps
	for _, p := range b.parts {
		point = append(point, tensors[p+"_pw_weight"]...)
		pointBias = append(pointBias, tensors[p+"_pw_bias"]...)
		n, taps := len(tensors[p+"_dw_bias"]), tensors[p+"_dw_weight"]
		for c := range n {
			var t []float64
			for k := range 9 {
				t = append(t, taps[k*n+c])
			}
			depth = append(depth, t)
		}
		depthBias = append(depthBias, tensors[p+"_dw_bias"]...)
	}
	co := len(pointBias)
	ci := len(point) / co
	isHead := len(b.parts) > 1
	in := units[b.from]
	weights := make([]int8, 0, ci*co)
	biases, shifts := make([]int32, co), make([]uint8, co)
	taps := make([]int16, 9*co) // tap by tap, channels side by side
	sumBias := make([]int16, co)
	headUnits := make([]float64, co)
	for c := range co {
		w := make([]float64, ci)
		for k := range w {
			w[k] = point[c*ci+k] * in[k]
		}
		scale := max(reach(w)/127, 1e-12)
		for _, v := range w {
			weights = append(weights, int8(math.RoundToEven(v/scale)))
		}
		// Values between the two convolutions must fit 16 bits, with a margin for photos outside the
		// calibration.
		shift := max(0, math.Ceil(math.Log2(max(cal.inner[b.name][c]/scale*headroom, 1)/math.MaxInt16)))
		shifts[c] = uint8(shift)
		half := 0.0
		if shift > 0 {
			half = math.Exp2(shift - 1)
		}
		biases[c] = int32(math.RoundToEven(pointBias[c]/scale + half))
		inner := scale * math.Exp2(shift)
		var unit, rounding float64
		if isHead {
			unit = cal.head[b.name][c] * headroom / math.MaxInt16
			if over := reach(depth[c]) * inner / unit * 32768 / math.MaxInt16; over > 1 {
				unit *= over
			}
		} else {
			unit, rounding = units[b.name][c]/(1<<fraction), 1<<fraction/2
		}
		headUnits[c] = unit
		for k, v := range depth[c] {
			t := math.RoundToEven(v * inner / unit * 32768)
			taps[k*co+c] = int16(min(max(t, -math.MaxInt16), math.MaxInt16))
		}
		sumBias[c] = int16(min(max(math.RoundToEven(depthBias[c]/unit+rounding), math.MinInt16),
			math.MaxInt16))
	}
	put([2]uint8{uint8(ci), uint8(co)})
	put(weights)
	put(biases)
	put(shifts)
	put(taps)
	put(sumBias)
	if isHead {
		put(headUnits)
	}
}

// reach is the greatest magnitude.
func reach(v []float64) (most float64) {
	for _, x := range v {
		most = max(most, math.Abs(x))
	}
	return most
}
