package draw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"facescan/store/draft"
)

// Files are the pictures that one command draws into a folder. None replaces a file that `detect --draw` did
// not write.
type Files struct {
	Dir   string
	taken map[string]bool // names of this invocation
}

// Add writes the drawing of an image file or URL, as NAME.faces.png. Where that is another's, the name gets a
// number.
func (d *Files) Add(of string, isURL bool, m image.Image) error {
	base := drawingName(of, isURL)
	for i := 1; ; i++ {
		name := base + ".faces.png"
		if i > 1 {
			name = fmt.Sprintf("%s.faces-%d.png", base, i)
		}
		if d.taken[name] {
			continue
		}
		path := filepath.Join(d.Dir, name)
		place := (*draft.Draft).PlaceNew
		if _, err := os.Lstat(path); err == nil {
			if !signed(path) {
				continue
			}
			place = (*draft.Draft).Place
		}
		f, err := draft.Create(path)
		if err != nil {
			return err
		}
		if err := png.Encode(&signer{w: f}, m); err != nil {
			f.Discard()
			return fmt.Errorf("write %s: %w", path, err)
		}
		if err := place(f); errors.Is(err, fs.ErrExist) { // somebody took the name meanwhile
			continue
		} else if err != nil {
			return err
		}
		if d.taken == nil {
			d.taken = map[string]bool{}
		}
		d.taken[name] = true
		return nil
	}
}

// drawingName is what the drawing of an image is called, without what is the same for all.
func drawingName(of string, isURL bool) string {
	base := filepath.Base(of)
	if isURL {
		if u, err := url.Parse(of); err == nil {
			base = filepath.Base(u.Path)
		}
	} else if of == "-" {
		base = "stdin"
	}
	base = safeName(strings.TrimSuffix(base, filepath.Ext(base)))
	return base[:min(len(base), 200)]
}

// pngHead is how long a PNG's signature and its first chunk, IHDR, are.
const pngHead = 8 + 25

// signature is a PNG chunk that says who wrote the file.
var signature = func() []byte {
	text := "tEXtSoftware\x00facescan detect --draw"
	b := binary.BigEndian.AppendUint32(nil, uint32(len(text)-4))
	b = append(b, text...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE([]byte(text)))
}()

// signer puts the signature behind the first chunk of the PNG that is written through it.
type signer struct {
	w io.Writer
	n int // bytes of the head that were written
}

func (s *signer) Write(p []byte) (int, error) {
	k := min(pngHead-s.n, len(p))
	n, err := s.w.Write(p[:k])
	if s.n += n; err != nil {
		return n, err
	}
	if k > 0 && s.n == pngHead {
		if _, err := s.w.Write(signature); err != nil {
			return n, err
		}
	}
	m, err := s.w.Write(p[k:])
	return n + m, err
}

// signed reports whether facescan drew the file.
func signed(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, pngHead+len(signature))
	_, err = io.ReadFull(f, head)
	return err == nil && string(head[pngHead:]) == string(signature)
}

// safeName keeps letters, digits and -_. and makes the rest an underscore.
func safeName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("-_.", r) {
			return r
		}
		return '_'
	}, s)
	if strings.Trim(s, "._") == "" {
		return "image"
	}
	return s
}
