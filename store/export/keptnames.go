package export

import (
	"fmt"
	"strings"

	"facescan/store"
)

// FileOf names the files that are made from a row, without their suffixes: 000/000001 for row 1. The name is
// the id in six digits or more, in groups of three; the folders are all groups but the last. So no folder has
// more than a thousand rows.
func FileOf(id int64) string {
	sign, n := "", uint64(id)
	if id < 0 { // in a user's table
		sign, n = "minus/", -n
	}
	digits := fmt.Sprintf("%06d", n)
	digits = strings.Repeat("0", (3-len(digits)%3)%3) + digits
	var path strings.Builder
	path.WriteString(sign)
	for at := 0; at+3 < len(digits); at += 3 {
		path.WriteString(digits[at:at+3] + "/")
	}
	return path.String() + digits
}

// CropOf names the picture of a row's face, 1 being the best.
func CropOf(id int64, face int) string { return fmt.Sprintf("%s-%d.jpg", FileOf(id), face) }

// BlurredOf names the picture of a row with its faces blurred.
func BlurredOf(id int64) string { return FileOf(id) + ".jpg" }

// KeptOf names the kept body of a row, in the format that it has there.
func KeptOf(id int64, format string) string {
	return FileOf(id) + "." + strings.Replace(format, "jpeg", "jpg", 1)
}

// made is the name of a file that the run made from the record's image; null if it made none.
func made(r *record, o store.Outputs, name func() string) value {
	if r.Outputs&o == 0 {
		return value{null: true}
	}
	return value{s: name()}
}

func keptFile(r *record) value {
	return made(r, store.KeptBody, func() string {
		if r.Outputs&store.KeptJPEG != 0 {
			return KeptOf(r.ID, "jpeg")
		}
		return KeptOf(r.ID, r.Format)
	})
}

func blurredFile(r *record) value {
	return made(r, store.Blurred, func() string { return BlurredOf(r.ID) })
}

// cropFiles are the names of all the record's crops, separated by blanks.
func cropFiles(r *record) value {
	return made(r, store.Crops, func() string {
		names := make([]string, min(r.crops, len(r.Faces)))
		for i := range names {
			names[i] = CropOf(r.ID, i+1)
		}
		return strings.Join(names, " ")
	})
}

func cropFile(r *record) value {
	if r.face >= r.crops {
		return value{null: true}
	}
	return made(r, store.Crops, func() string { return CropOf(r.ID, r.face+1) })
}
