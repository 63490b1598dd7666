package sidecar

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// lengthHeader says how many bytes of a body are JSON; the binary parts of tensors follow, in order.
const lengthHeader = "Inference-Header-Content-Length"

// parameters map names to strings, numbers (float64) or bools.
type parameters map[string]any

// message is a request or a response.
type message struct {
	ModelName    string     `json:"model_name,omitempty"`
	ModelVersion string     `json:"model_version,omitempty"`
	ID           string     `json:"id,omitempty"`
	Parameters   parameters `json:"parameters,omitempty"`
	Inputs       []tensor   `json:"inputs,omitempty"`
	Outputs      []tensor   `json:"outputs,omitempty"`
}

// tensor is an input or output. Its content is in Data, or in the body behind the JSON.
type tensor struct {
	Name       string          `json:"name"`
	Datatype   string          `json:"datatype,omitempty"`
	Shape      []int64         `json:"shape,omitempty"`
	Parameters parameters      `json:"parameters,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`

	binary []byte // when Parameters name its size
}

const (
	sizeKey       = "binary_data_size" // parameter with the size of a tensor's binary part
	binaryExt     = "binary_tensor_data"
	contentType   = "content_type" // parameter of MLServer: how to read a tensor's data
	base64Content = "base64"
)

// parseMessage parses a body. length is the value of lengthHeader: how many bytes of it are JSON; empty for
// all, which may be at most maxJSON. The tensors' content is not copied.
func parseMessage(length string, body []byte, maxJSON int) (*message, error) {
	head := len(body)
	if length != "" {
		var err error
		if head, err = strconv.Atoi(length); err != nil || head < 0 || head > len(body) {
			return nil, fmt.Errorf("%s is %q, of a body of %d bytes", lengthHeader, length, len(body))
		}
	}
	if head > maxJSON {
		return nil, fmt.Errorf("%d bytes of JSON; send images as binary data behind it, with %s", head,
			lengthHeader)
	}
	m := new(message)
	if err := json.Unmarshal(body[:head], m); err != nil {
		return nil, fmt.Errorf("the header is not the JSON it should be: %w", err)
	}
	rest := body[head:]
	for _, ts := range [][]tensor{m.Inputs, m.Outputs} {
		for i := range ts {
			t := &ts[i]
			v, ok := t.Parameters[sizeKey]
			if !ok {
				continue
			}
			size, ok := v.(float64)
			if !ok || size < 0 || size != math.Trunc(size) || size > float64(len(rest)) {
				return nil, fmt.Errorf("tensor %q: %s is %v, and %d bytes are left", t.Name, sizeKey, v,
					len(rest))
			}
			t.binary, rest = rest[:int(size):int(size)], rest[int(size):]
		}
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes belong to no tensor", len(rest))
	}
	return m, nil
}

// find returns the tensor with that name, which must be the only one, and of that type and shape.
func find(ts []tensor, name, datatype string, shape ...int64) (*tensor, error) {
	var found *tensor
	for i := range ts {
		if ts[i].Name != name {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("two tensors are called %q", name)
		}
		found = &ts[i]
	}
	if found == nil {
		return nil, fmt.Errorf("no tensor is called %q", name)
	}
	return found, found.is(datatype, shape...)
}

// is returns an error unless type and shape match; -1 stands for any length.
func (t *tensor) is(datatype string, shape ...int64) error {
	ok := t.Datatype == datatype && len(t.Shape) == len(shape)
	for i := 0; ok && i < len(shape); i++ {
		ok = t.Shape[i] >= 0 && (shape[i] < 0 || t.Shape[i] == shape[i])
	}
	if !ok {
		return fmt.Errorf("tensor %q is %s %v, want %s %v", t.Name, t.Datatype, t.Shape, datatype, shape)
	}
	return nil
}

// elements returns the files of a BYTES tensor. In binary each is its length, as little-endian uint32, and as
// many bytes.
func (t *tensor) elements() ([][]byte, error) {
	n, rest := t.Shape[0], t.binary
	if rest == nil && t.Parameters[contentType] == base64Content {
		var out [][]byte
		if err := json.Unmarshal(t.Data, &out); err != nil || int64(len(out)) != n {
			return nil, fmt.Errorf("tensor %q: its data are no %d strings of base64", t.Name, n)
		}
		return out, nil
	}
	if rest == nil {
		return nil, fmt.Errorf("tensor %q must be sent as binary data, or with %s %s", t.Name, contentType,
			base64Content)
	}
	if n > int64(len(rest)/4) {
		return nil, fmt.Errorf("tensor %q: %d elements do not fit into %d bytes", t.Name, n, len(rest))
	}
	out := make([][]byte, n)
	for i := range out {
		if len(rest) < 4 {
			return nil, fmt.Errorf("tensor %q ends before element %d", t.Name, i)
		}
		size := binary.LittleEndian.Uint32(rest)
		if uint64(size) > uint64(len(rest)-4) {
			return nil, fmt.Errorf("tensor %q: element %d has %d bytes, and %d are left", t.Name, i, size,
				len(rest)-4)
		}
		out[i], rest = rest[4:4+size:4+size], rest[4+size:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("tensor %q: %d bytes after the last element", t.Name, len(rest))
	}
	return out, nil
}

// numbersOf returns the elements of the tensor that find returns.
func numbersOf(ts []tensor, name, datatype string, shape ...int64) ([]float64, error) {
	t, err := find(ts, name, datatype, shape...)
	if err != nil {
		return nil, err
	}
	return t.numbers()
}

// numbers returns the elements of an FP32 or INT32 tensor, binary or JSON. Both types fit a float64. The
// shape must be one that was checked: its product must not overflow.
func (t *tensor) numbers() ([]float64, error) {
	n := int64(1)
	for _, v := range t.Shape {
		n *= v
	}
	var out []float64
	if t.binary != nil {
		if n > int64(len(t.binary)) || 4*n != int64(len(t.binary)) {
			return nil, fmt.Errorf("tensor %q has %d bytes for %d elements", t.Name, len(t.binary), n)
		}
		out = make([]float64, n)
		for i := range out {
			bits := binary.LittleEndian.Uint32(t.binary[4*i:])
			if t.Datatype == typeINT32 {
				out[i] = float64(int32(bits))
			} else {
				out[i] = float64(math.Float32frombits(bits))
			}
		}
		return out, nil
	}
	if err := json.Unmarshal(t.Data, &out); err != nil { // flat, or nested as the shape
		var rows [][]float64
		if json.Unmarshal(t.Data, &rows) != nil {
			return nil, fmt.Errorf("tensor %q: its data are not numbers", t.Name)
		}
		out = nil
		for _, r := range rows {
			if len(t.Shape) != 2 || int64(len(r)) != t.Shape[1] {
				return nil, fmt.Errorf("tensor %q has a row of %d", t.Name, len(r))
			}
			out = append(out, r...)
		}
	}
	if int64(len(out)) != n {
		return nil, fmt.Errorf("tensor %q has %d elements for %d", t.Name, len(out), n)
	}
	if t.Datatype == typeFP32 {
		for i, v := range out {
			out[i] = float64(float32(v))
		}
	}
	return out, nil
}

// put fills the tensor with numbers, each four bytes; as JSON instead unless binary.
func (t *tensor) put(content []byte, asBinary bool) error {
	if asBinary {
		t.binary, t.Parameters = content, parameters{sizeKey: len(content)}
		return nil
	}
	var v any
	if t.Datatype == typeINT32 {
		v = make([]int32, len(content)/4)
	} else {
		v = make([]float32, len(content)/4)
	}
	if err := binary.Read(bytes.NewReader(content), binary.LittleEndian, v); err != nil {
		return err
	}
	text, err := json.Marshal(v)
	t.Data = text
	return err
}
