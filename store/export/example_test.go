package export_test

import (
	"fmt"
	"os"

	"facescan/store"
	"facescan/store/export"
)

// Results of a job go through a Writer, in any format; a filter takes some of them.
func ExampleNew() {
	w, err := export.New(os.Stdout, export.Options{Columns: []string{"id", "url", "faces", "boxes"},
		Where: "faces > 0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range []store.Result{
		{ID: 1, URL: "https://example.org/1.jpg", Status: store.OK, Detector: "d", Width: 640, Height: 480,
			Faces: []store.Face{{X: 10, Y: 20, Width: 30, Height: 40, Score: 0.9}}},
		{ID: 2, URL: "https://example.org/2.jpg", Status: store.OK, Detector: "d", Width: 640, Height: 480},
	} {
		if err := w.Write(r); err != nil {
			fmt.Println(err)
			return
		}
	}
	if err := w.Close(); err != nil { // without it the output is not whole
		fmt.Println(err)
	}
	// Output:
	// id,url,faces,boxes
	// 1,https://example.org/1.jpg,1,"[[10,20,30,40,0.90]]"
}
