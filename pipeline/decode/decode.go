// Package decode turns the bytes of an image file into luma: one byte a pixel, upright, at the size that
// detection needs.
//
// # Order of work
//
// Hostile files are the normal case, so nothing is allocated by what a file claims before the claim is
// checked:
//
//  1. The format is sniffed from the content; names and Content-Type do not count. An image of another format
//     or coding is ErrUnsupported, everything else ErrNotImage.
//  2. The header is parsed by code of this package, which allocates nothing. It gives the size, the
//     orientation, and the most memory that decoding can take. More pixels than Options.MaxPixels are
//     ErrTooManyPixels.
//  3. The caller takes Header.Memory from its budget, and hands the File to DecodeFile, which reads the
//     header no second time.
//  4. The decoder of that format is called. A panic in it is ErrBadImage.
//
// # Luma
//
// Y = 0.299 R + 0.587 G + 0.114 B on the stored (gamma) values, which is what JPEG holds; the Y plane of JPEG
// and lossy WebP is taken as it is (WebP's is stretched from 16..235). Transparent pixels are drawn on
// white, as on most web pages. ICC profiles are not applied.
//
// # Scale
//
// Luma is only as large as finding the smallest face requires. Measured on 191 annotated photos and 77
// without a face with `go run ./testdata/accuracy`, F1 at IoU 0.4 with the best threshold and the default
// one, by the size of Luma in eighths; in brackets the CPU time of decoding and detection together on photos
// of 0.14 to 0.24 megapixels, relative to full size:
//
//	faces from 8/8               7/8         6/8               5/8               4/8               3/8
//	20 pixels  .852 .851 (1.00)  .850 .849   .846 .838 (1.09)  .825 .804 (0.92)  .803 .775 (0.63)  .791 .697
//	40 pixels  .828 .827 (1.00)  .837 .834   .828 .823         .809 .788 (0.79)  .788 .759 (0.75)  .770 .668
//
// The cascade was made for windows of 20 pixels. DefaultWindow therefore keeps faces from 20 pixels at full
// size, and halves the image for faces from 40, which costs four points and a quarter of the time.
//
// libjpeg-turbo scales while it decodes; for other formats every pixel of Luma is the mean of the area it
// covers.
//
// # Orientation
//
// EXIF's Orientation (1 to 8) is applied for JPEG, PNG, WebP and TIFF: pixels, widths and heights that leave
// this package are upright. AVIF and HEIC hold their orientation in boxes of their own; their EXIF is
// ignored, or they would be turned twice. ToStored and ToUpright convert boxes between the two, for detectors
// that read the encoded bytes.
//
// # Damage
//
// Of a file that was cut, or is damaged inside, the part that decodes is used if it is at least half of the
// picture; the Image is then Partial. Less than half is ErrBadImage.
package decode

import (
	"errors"
	"fmt"
	"image"

	"facescan/pipeline/decode/heif"
	"facescan/pipeline/decode/turbo"
)

var (
	// ErrNotImage: there is no content, or it is not an image.
	ErrNotImage = errors.New("not an image")
	// ErrUnsupported: the header names an image format or coding that is not decoded here.
	ErrUnsupported = errors.New("unsupported")
	// ErrBadImage: the format was recognised, but less than half of a picture comes out.
	ErrBadImage = errors.New("bad image")
	// ErrTooManyPixels: the header claims more pixels, or a longer side, than is allowed.
	ErrTooManyPixels = errors.New("too many pixels")
)

// IsRefusal reports whether an error is about the image: it wraps one of the errors above.
func IsRefusal(err error) bool {
	return errors.Is(err, ErrNotImage) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrBadImage) ||
		errors.Is(err, ErrTooManyPixels)
}

// unsupported returns an ErrUnsupported that names what is not decoded.
func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUnsupported}, args...)...)
}

const (
	// DefaultMaxPixels is the limit when Options name none.
	DefaultMaxPixels = 100_000_000
	// DefaultWindow is the least number of pixels of Luma that the smallest face has; see the package's
	// comment.
	DefaultWindow = 20
	// full is the scale at which Luma has the image's own size.
	full = turbo.Scale(8)
	// maxSide is the longest side: the most that JPEG, GIF and EXIF can say.
	maxSide = 65535
	// slack is how many bytes may be read beyond Luma's last pixel, so that vector loads need no special case
	// at the end.
	slack = 64
	// maxScratch is the largest scratch buffer that outlives its image.
	maxScratch = 16 << 20
)

// Options of decoding. The zero value decodes everything within the default limits at full size.
type Options struct {
	MaxPixels int64 // of the full image; 0 is DefaultMaxPixels
	// side, in full pixels, of the smallest face that must stay findable; 0 keeps the full size
	MinFace int
	Window  int // side, in pixels of Luma, that such a face must still have; 0 is DefaultWindow
	// PHash requests the perceptual hash. It is that of the picture at full size and does not depend on
	// MinFace and Window: a JPEG that is scaled while it is decoded is decoded twice for it.
	PHash bool
}

func (o Options) maxPixels() int64 {
	if o.MaxPixels > 0 {
		return o.MaxPixels
	}
	return DefaultMaxPixels
}

// scale is the size of Luma: the smallest at which a face of MinFace still has Window pixels.
func (o Options) scale() turbo.Scale {
	window := o.Window
	if window <= 0 {
		window = DefaultWindow
	}
	if o.MinFace <= window {
		return full
	}
	return turbo.Scale((window*8 + o.MinFace - 1) / o.MinFace)
}

// LumaSize is the largest size of the Luma of an image of this size.
func (o Options) LumaSize(width, height int) (int, int) {
	s := int(o.scale())
	return (width*s + 7) / 8, (height*s + 7) / 8
}

// Header is what the first bytes say, before any pixel is allocated.
type Header struct {
	Format        string
	Width, Height int // upright, at full size
	Orientation   int // EXIF, 1 to 8; always 1 for AVIF and HEIC, which are upright once they are decoded
	// Memory is the most bytes that Decode takes besides the body: coefficients, pixels, luma, its rotated
	// copy
	Memory int64
}

// Image is a decoded picture.
type Image struct {
	Luma          *image.Gray // upright; rows are contiguous, and 64 bytes beyond the last one may be read
	Width, Height int         // upright, at full size
	Format        string
	// full pixels per pixel of Luma, >= 1, the same for both axes; Luma's corner is the image's within a
	// pixel of Luma
	Scale       float64
	Orientation int  // EXIF, 1 to 8; already applied
	Partial     bool // damaged or cut; at least half is there
	Fallback    bool // the standard library decoded it after libjpeg-turbo refused

	Hashed bool // PHash is known
	PHash  uint64
}

// File is an image file whose header was read, with what its decoder needs besides the Header. It refers to
// the body, which must not change until the file is decoded.
type File struct {
	Header
	options Options
	body    []byte
	format  *format
	jpeg    jpegHeader
	gif     gifHeader
	webp    webpHeader
	bmp     bmpHeader
	tiff    tiffHeader
	heif    heif.Info
}

// turn is the EXIF orientation that is still to be applied to the decoded pixels.
func (f *File) turn() int {
	if f.Format == AVIF {
		return f.heif.Turn
	}
	return f.Orientation
}

// LumaSize is the largest size of the file's Luma.
func (f *File) LumaSize() (int, int) { return f.options.LumaSize(f.Width, f.Height) }

// Plain reports whether the file is a JPEG that every program shows alike: upright, and grey or in three
// colours.
func (f *File) Plain() bool {
	return f.Format == JPEG && f.Orientation == 1 && (f.jpeg.components == 1 || f.jpeg.components == 3)
}

// stored is the size before turn is applied.
func (f *File) stored() (width, height int) {
	if f.turn() >= 5 {
		return f.Height, f.Width
	}
	return f.Width, f.Height
}

// Probe reads the header only. The Header is filled as far as it is known, even with an error. Every error is
// one of IsRefusal.
func Probe(body []byte, o Options) (*File, error) {
	f := new(File)
	return f, f.probe(body, o)
}

func (f *File) probe(body []byte, o Options) error {
	*f = File{options: o, body: body}
	f.Orientation = 1
	if f.format = sniff(body); f.format == nil {
		if other := sniffOther(body); other != "" {
			return unsupported("%s", other)
		}
		return ErrNotImage
	}
	f.Format = f.format.name
	err := guard(f.Format, func() error { return f.format.probe(f, body) })
	if f.turn() >= 5 {
		f.Width, f.Height = f.Height, f.Width
	}
	if err != nil {
		return err
	}
	if f.Width < 1 || f.Height < 1 {
		return fmt.Errorf("%w: %s of %dx%d pixels", ErrBadImage, f.Format, f.Width, f.Height)
	}
	if f.Width > maxSide || f.Height > maxSide || int64(f.Width)*int64(f.Height) > o.maxPixels() {
		return fmt.Errorf("%w: %dx%d", ErrTooManyPixels, f.Width, f.Height)
	}
	return nil
}

// Decoder decodes image after image for one worker, reusing its buffers: decoding a JPEG allocates nothing
// once the buffers have grown. It is not safe for use by several goroutines at once.
type Decoder struct {
	options Options
	turbo   *turbo.Decoder // made for the first JPEG
	pixels  []byte         // scratch: luma as stored, or CMYK
	rotated []byte         // scratch: luma turned upright
	row     []uint16       // scratch: shrink's
	luma    image.Gray
	hasher  hasher
	file    File // scratch: Decode's, so that it is not allocated for each image
}

// New makes a decoder. Close frees what it holds.
func New(o Options) *Decoder { return &Decoder{options: o} }

// Close frees the decoder's memory. The last Image's Luma must not be used after it.
func (d *Decoder) Close() {
	if d.turbo != nil {
		d.turbo.Close()
	}
	*d = Decoder{options: d.options}
}

// Decode reads the header of body and decodes it. Luma is valid until the next call. It never panics; errors
// are those of Probe.
func (d *Decoder) Decode(body []byte) (Image, error) {
	defer func() { d.file = File{} }() // so that it keeps no body alive
	if err := d.file.probe(body, d.options); err != nil {
		return Image{}, err
	}
	return d.DecodeFile(&d.file)
}

// DecodeFile is Decode for a file that was probed, by the Options that it was probed with.
func (d *Decoder) DecodeFile(f *File) (img Image, err error) {
	d.Trim()
	img = Image{Width: f.Width, Height: f.Height, Format: f.Format, Scale: 1, Orientation: f.Orientation}
	err = guard(f.Format, func() error {
		if f.Format == JPEG && turbo.Available {
			if err := d.decodeTurbo(f, &img); !f.jpeg.refused(err) {
				return err
			}
			img.Fallback = true
		}
		m, partial, err := f.format.decode(f)
		if err != nil {
			return err
		}
		img.Partial = partial
		return d.take(m, f, &img)
	})
	if err != nil {
		return Image{}, err
	}
	d.upright(f.turn())
	img.Luma = &d.luma
	return img, nil
}

// guard runs a part of a format's decoder. An error that is not one of IsRefusal, or a panic, becomes
// ErrBadImage.
func guard(format string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s: panic: %v", ErrBadImage, format, p)
		}
	}()
	err = f()
	if err == nil || IsRefusal(err) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrBadImage, format, err)
}

// take converts a decoded picture to d.luma, at the scale that the options allow.
func (d *Decoder) take(m image.Image, f *File, img *Image) error {
	w, h := f.stored()
	d.setLuma(w, h)
	if err := toLuma(&d.luma, m, f.Format == WebP); err != nil {
		return err
	}
	d.hash(f, img)
	if s := f.options.scale(); s != full {
		img.Scale = 8 / float64(s)
		d.row = shrink(&d.luma, s, d.row)
	}
	return nil
}

// hash hashes d.luma, which has the full size, if the options ask for that.
func (d *Decoder) hash(f *File, img *Image) {
	if f.options.PHash {
		img.PHash, img.Hashed = d.hasher.hash(&d.luma), true
	}
}

// setLuma makes d.luma an image of that size in d.pixels; its content is undefined.
func (d *Decoder) setLuma(width, height int) {
	d.pixels = grow(d.pixels, width*height)
	d.luma = image.Gray{Pix: d.pixels, Stride: width, Rect: image.Rect(0, 0, width, height)}
}

// Trim frees the buffers of a large image. The last Image's Luma must not be used after it.
func (d *Decoder) Trim() {
	if cap(d.pixels) > maxScratch {
		d.pixels = nil
	}
	if cap(d.rotated) > maxScratch {
		d.rotated = nil
	}
	d.luma = image.Gray{}
}

// grow returns n bytes of undefined content, with room for slack behind them.
func grow(b []byte, n int) []byte {
	if cap(b) < n+slack {
		b = make([]byte, n+slack)
	}
	return b[:n]
}
