package source_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"facescan/pipeline/source"
)

// A list is read a few rows at a time. Where a reader stopped, another one resumes.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	list := filepath.Join(dir, "urls.txt")
	text := "https://example.org/a.jpg\n# a comment\nhttps://example.org/b.jpg\nno URL\n"
	if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	position := source.Position{}
	rows := make([]source.Row, 2)
	for {
		r, err := source.Open(context.Background(), source.Spec{Path: list}, position)
		if err != nil {
			fmt.Println(err)
			return
		}
		n, err := r.Next(rows)
		for _, row := range rows[:n] {
			fmt.Println(row.ID, row.URL)
		}
		position = r.Position()
		if err := r.Close(); err != nil {
			fmt.Println(err)
		}
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("read", position.Line, "lines")
	}
	// Output:
	// 1 https://example.org/a.jpg
	// 3 https://example.org/b.jpg
	// read 3 lines
	// 4 no URL
	// read 4 lines
}
