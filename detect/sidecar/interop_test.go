//go:build interop

package sidecar

import (
	"encoding/json"
	"image"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"facescan/detect"
	"facescan/detect/detecttest/sample"
)

// python is the interpreter that `make test-interop` prepared.
func python(t *testing.T) string {
	t.Helper()
	p := os.Getenv("FACESCAN_PYTHON")
	if p == "" {
		t.Fatal("FACESCAN_PYTHON names no interpreter: run make test-interop")
	}
	return p
}

// TestTritonClient: NVIDIA's client gets from our server what the detector finds.
func TestTritonClient(t *testing.T) {
	st := newStand(t, ServerOptions{}).tcp().start()
	dir := t.TempDir()
	photos := []detect.Image{{Luma: sample.Photo(t, 240), Scale: 1},
		{Luma: blank(60, 60), Scale: 1}, {Luma: sample.Photo(t, 160), Scale: 1}}
	args := []string{"testdata/triton.py", st.at, ModelName}
	for i, p := range photos {
		name := filepath.Join(dir, strconv.Itoa(i)+".pgm")
		must(t, os.WriteFile(name, appendPGM(nil, p.Luma), 0o600))
		args = append(args, name)
	}
	broken := filepath.Join(dir, "broken")
	must(t, os.WriteFile(broken, []byte("not an image"), 0o600))
	out, err := exec.Command(python(t), append(args, broken)...).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderrOf(err))
	}
	type answer struct {
		Faces  [][]float64
		Counts []int
		ID     string
	}
	var got struct {
		Live, Ready          bool
		ModelReady           bool `json:"model_ready"`
		Extensions           []string
		Inputs, Outputs      []tensor
		Binary, JSON, Strict answer
		All, Async           []int
		Refused              string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	local, err := detect.New(detect.Defaults(detect.Pigo))
	must(t, err)
	defer local.Close()
	answers, err := local.Detect(t.Context(), photos)
	must(t, err)
	want := answer{ID: "7"}
	for i, a := range answers {
		want.Counts = append(want.Counts, len(a.Faces))
		for _, f := range a.Faces {
			want.Faces = append(want.Faces, []float64{float64(i), f.X, f.Y, f.Width, f.Height, f.Score})
		}
	}
	want.Counts = append(want.Counts, -1)
	if !got.Live || !got.Ready || !got.ModelReady || !reflect.DeepEqual(got.Extensions, []string{binaryExt}) {
		t.Errorf("health: %s", out)
	}
	if !reflect.DeepEqual(got.Inputs, expected(false).Inputs) ||
		!reflect.DeepEqual(got.Outputs, expected(false).Outputs) {
		t.Errorf("metadata: %+v %+v", got.Inputs, got.Outputs)
	}
	if len(want.Faces) < 2 || !reflect.DeepEqual(got.Binary, want) ||
		!reflect.DeepEqual(got.All, want.Counts) || !reflect.DeepEqual(got.Async, want.Counts) {
		t.Errorf("got %s\nwant %+v", out, want)
	}
	for _, row := range got.JSON.Faces { // decimal on the way
		for i := range row {
			row[i] = float64(float32(row[i]))
		}
	}
	if !reflect.DeepEqual(got.JSON, want) {
		t.Errorf("as JSON %+v, want %+v", got.JSON, want)
	}
	if len(got.Strict.Faces) > 0 || !strings.Contains(got.Refused, "no_such_flag") {
		t.Errorf("flags: %s", out)
	}
}

func stderrOf(err error) []byte {
	if e, ok := err.(*exec.ExitError); ok {
		return e.Stderr
	}
	return nil
}

// mlsettings makes a folder for MLServer with a runtime of the example, and returns it with the model's URL.
func mlsettings(t *testing.T, implementation string) (dir, url string) {
	t.Helper()
	dir = t.TempDir()
	for _, f := range []string{"example/runtime.py", "example/model-settings.json", "testdata/blobs.py"} {
		b, err := os.ReadFile(f)
		must(t, err)
		b = []byte(strings.ReplaceAll(string(b), `"runtime.ONNX"`, `"`+implementation+`"`))
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o600))
	}
	var ports []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	settings := `{"host":"127.0.0.1","parallel_workers":0,"http_port":` + ports[0] + `,"grpc_port":` +
		ports[1] + `,"metrics_port":` + ports[2] + `}`
	must(t, os.WriteFile(filepath.Join(dir, "settings.json"), []byte(settings), 0o600))
	return dir, "http://127.0.0.1:" + ports[0] + "/v2/models/" + ModelName
}

// mlclient starts MLServer and returns a client of its model.
func mlclient(t *testing.T, implementation string, input Input) *Client {
	t.Helper()
	dir, url := mlsettings(t, implementation)
	c := exec.Command(filepath.Join(filepath.Dir(python(t)), "mlserver"), "start", ".")
	c.Dir = dir
	c.Stdout, c.Stderr = io.Discard, io.Discard
	must(t, c.Start())
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	e, err := newEndpoint(url, 1)
	must(t, err)
	defer e.http.CloseIdleConnections()
	eventually(t, "MLServer is ready", func() bool {
		_, err := e.get(t.Context(), e.base+"/ready")
		return err == nil
	})
	p := detect.Defaults(detect.Pigo)
	p.Detector = "" // a foreign model
	return client(t, Options{URLs: []string{url}, Batch: 8, Delay: 5 * time.Millisecond, Input: input,
		Params: p})
}

// TestMLServer: our client gets from MLServer what the example's runtime finds, without a model, and with the
// one that FACESCAN_ONNX names, if any.
func TestMLServer(t *testing.T) {
	if path := os.Getenv("FACESCAN_ONNX"); path != "" {
		t.Run("neural", func(t *testing.T) { neural(t, path) })
	}
	c := mlclient(t, "blobs.Blobs", Luma)
	if got := c.Fingerprint(); got != "sidecar:blobs/1" {
		t.Errorf("fingerprint %q", got)
	}
	var batch []detect.Image
	for i := range 20 {
		m := image.NewGray(image.Rect(0, 0, 90+i, 70))
		for n := range i % 4 {
			for y := range 10 {
				for x := range 12 {
					m.Pix[(y+5)*m.Stride+x+3+20*n] = 255
				}
			}
		}
		batch = append(batch, detect.Image{Luma: m, Scale: 1})
	}
	answers, err := c.Detect(t.Context(), batch)
	must(t, err)
	for i, a := range answers {
		var want []detect.Face
		for n := range i % 4 {
			want = append(want, detect.Face{X: float64(3 + 20*n), Y: 5, Width: 12, Height: 10, Score: 0.75})
		}
		if !reflect.DeepEqual(a, detect.Answer{Faces: want}) {
			t.Errorf("image %d: %+v, want %+v", i, a, want)
		}
	}
}

// neural asks for the sample photo's face with the model that is named.
func neural(t *testing.T, path string) {
	t.Setenv("FACE_MODEL", path)
	c := mlclient(t, "runtime.ONNX", Encoded)
	file := sample.JPEG(t)
	m := sample.Photo(t, 320)
	a, err := c.Detect(t.Context(),
		[]detect.Image{{Luma: m, Scale: 1, Encoded: file, Width: m.Rect.Dx(), Height: m.Rect.Dy()}})
	if err != nil || len(a[0].Faces) != 1 {
		t.Fatalf("%+v %v", a, err)
	}
	// The face of the sample photo, as the cascade sees it.
	if f := a[0].Faces[0]; f.X > 160 || f.X+f.Width < 160 || f.Y > 200 || f.Y+f.Height < 220 ||
		f.Score < 0.7 {
		t.Errorf("the face is %+v", f)
	}
}
