package yunet

import "image"

// Rows of the maps at strides 8 and 16 that wait for the coarser map that is added to them: at most 22 and 8,
// the sum of the delays of the blocks between them.
const (
	waiting8  = 22
	waiting16 = 8
)

// plain is the network in plain Go. The faster paths are compared with it, and it runs where they cannot.
type plain struct {
	net    *weights
	levels [3]threshold
	found  func([]cell)
	cell   [1]cell

	width  int // of the input, padded
	input  input
	rows   [3][]uint8 // the last rows of the input, a zero in front
	first  []uint8    // a row of the stem's output
	stages [blockCount]stage
	zeros  []int16
	pooled []uint8           // a row that goes into a block at once
	map8   [waiting8][]uint8 // the last rows of eighth2's and sixteenth2's output
	map16  [waiting16][]uint8
	scores []int16 // a row of a head's output
}

// stage runs a block: it reads a row and returns the previous one.
type stage struct {
	*block
	width int        // cells of a row
	fed   int        // rows read
	inner [3][]int16 // the last rows between the convolutions, a cell of zeros at either end
	out   [2][]uint8 // the last rows of the output
}

// strides of the blocks.
var strides = [blockCount]int{
	half: 2, quarter1: 4, quarter2: 4, quarter3: 4, quarter4: 4, eighth1: 8, eighth2: 8,
	sixteenth1: 16, sixteenth2: 16, thirtysecond1: 32, thirtysecond2: 32,
	neck32: 32, neck16: 16, neck8: 8, head8: 8, head16: 16, head32: 32,
}

func newPlain() network { return &plain{net: net} }

func (p *plain) run(from picture, next *image.Gray, levels [3]threshold, found func([]cell)) {
	p.begin(from, next)
	p.levels, p.found = levels, found
	width, height := from.padded()
	for y := range height / 2 {
		p.input.row(p.rows[(2*y+1)%3])
		p.input.row(p.rows[(2*y+2)%3])
		p.stem(p.first, [3][]uint8{p.rows[2*y%3], p.rows[(2*y+1)%3], p.rows[(2*y+2)%3]}, width/2)
		p.feed(half, p.first)
	}
	// Rows of zeros below the last one make each block return its last row.
	for _, i := range [...]int{half, quarter1, quarter2, quarter3, quarter4, eighth1, eighth2,
		sixteenth1, sixteenth2, thirtysecond1, thirtysecond2,
		neck32, head32, neck16, head16, neck8, head8} {
		p.feed(i, nil)
	}
}

// begin allocates for a picture of that width, unless the last one had the same. Bytes that must be zero stay
// zero from one picture to the next, except in the rows of the input.
func (p *plain) begin(from picture, next *image.Gray) {
	width, _ := from.padded()
	p.input.begin(from, next)
	if width != p.width {
		p.width = width
		p.makeRoom()
	}
	for i := range p.rows {
		clear(p.rows[i])
	}
	for i := range p.stages {
		p.stages[i].fed = 0
	}
}

func (p *plain) makeRoom() {
	for i := range p.rows {
		p.rows[i] = zeroed(p.rows[i], p.width+2)
	}
	longest := 0
	p.first = zeroed(p.first, p.width/2*channels)
	for i := range p.stages {
		s := &p.stages[i]
		s.block, s.width = &p.net.blocks[i], p.width/strides[i]
		for j := range s.inner {
			s.inner[j] = zeroed(s.inner[j], (s.width+2)*s.block.out)
		}
		for j := range s.out {
			s.out[j] = zeroed(s.out[j], s.width*s.block.out)
		}
		longest = max(longest, len(s.inner[0]))
	}
	p.pooled = zeroed(p.pooled, p.width/8*64) // of quarter4, whose rows are the longest
	for i := range p.map8 {
		p.map8[i] = zeroed(p.map8[i], p.width/8*64)
	}
	for i := range p.map16 {
		p.map16[i] = zeroed(p.map16[i], p.width/16*64)
	}
	p.zeros = zeroed(p.zeros, longest)
	p.scores = zeroed(p.scores, p.width/8*channels)
}

// zeroed returns n zeros, in the memory of s if it is large enough.
func zeroed[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// stem computes a row of the first convolution. Its input rows have a zero in front.
func (p *plain) stem(out []uint8, rows [3][]uint8, width int) {
	s := &p.net.stem
	for x := range width {
		for c := range channels {
			sum := s.bias[c]
			for k, w := range s.weights[c] {
				sum += int32(w) * int32(rows[k/3][2*x+k%3])
			}
			out[x*channels+c] = clamp8(int32(rounded(clamp16(sum>>s.shift), s.factor[c])))
		}
	}
}

// feed gives block i its next row, nil below the last, and passes the block's output on.
func (p *plain) feed(i int, row []uint8) {
	s := &p.stages[i]
	if row != nil {
		s.pointwise(row)
	}
	y := s.fed - 1
	s.fed++
	if y < 0 {
		return
	}
	rows := [3][]int16{p.zeros, s.inner[y%3], p.zeros}
	if y > 0 {
		rows[0] = s.inner[(y-1)%3]
	}
	if row != nil {
		rows[2] = s.inner[(y+1)%3]
	}
	switch i {
	case half, quarter4:
		s.depthwise(rows, s.out[y%2])
		p.pool(i, y, s.out[0], s.out[1])
	case eighth2:
		s.depthwise(rows, p.map8[y%waiting8])
		p.pool(i, y, p.map8[(y-y%2)%waiting8], p.map8[y%waiting8])
	case sixteenth2:
		s.depthwise(rows, p.map16[y%waiting16])
		p.pool(i, y, p.map16[(y-y%2)%waiting16], p.map16[y%waiting16])
	case neck32:
		s.depthwise(rows, s.out[0])
		p.feed(head32, s.out[0])
		for j := range 2 {
			fine := p.map16[(2*y+j)%waiting16]
			addDoubled(fine, s.out[0])
			p.feed(neck16, fine)
		}
	case neck16:
		s.depthwise(rows, s.out[0])
		p.feed(head16, s.out[0])
		for j := range 2 {
			fine := p.map8[(2*y+j)%waiting8]
			addDoubled(fine, s.out[0])
			p.feed(neck8, fine)
		}
	case neck8:
		s.depthwise(rows, s.out[0])
		p.feed(head8, s.out[0])
	case head8, head16, head32:
		s.sums(rows, p.scores)
		p.collect(i-head8, y, s.width)
	default:
		s.depthwise(rows, s.out[0])
		p.feed(i+1, s.out[0])
	}
}

// pool feeds the next block the maximum of each two by two cells, once it has both rows.
func (p *plain) pool(i, y int, a, b []uint8) {
	if y%2 == 0 {
		return
	}
	c := p.stages[i].block.out
	to := p.pooled[:p.stages[i+1].width*c]
	for x := range len(to) / c {
		for k := range c {
			l, r := 2*x*c+k, (2*x+1)*c+k
			to[x*c+k] = max(a[l], a[r], b[l], b[r])
		}
	}
	p.feed(i+1, to)
}

// collect passes on the cells of a head's row that may hold a face.
func (p *plain) collect(level, y, width int) {
	least := p.levels[level]
	for x := range width {
		v := p.scores[x*channels:][:channels]
		if v[0] >= least.class && v[1] >= least.object {
			p.cell[0] = cell{level: int32(level), x: int32(x), y: int32(y), v: [channels]int16(v)}
			p.found(p.cell[:])
		}
	}
}

// pointwise computes the 1x1 convolution of a row.
func (s *stage) pointwise(row []uint8) {
	to := s.inner[s.fed%3][s.block.out:]
	for x := range s.width {
		in := row[x*s.block.in:][:s.block.in]
		for c := range s.block.out {
			sum := s.bias[c]
			for k, w := range s.point[c*s.block.in:][:s.block.in] {
				sum += int32(w) * int32(in[k])
			}
			to[x*s.block.out+c] = clamp16(sum >> s.shift[c])
		}
	}
}

// depthwise computes a row of activations from three rows between the convolutions.
func (s *stage) depthwise(rows [3][]int16, to []uint8) {
	for i := range s.width * s.block.out {
		to[i] = clamp8(int32(s.sum(rows, i)) >> fraction)
	}
}

// sums computes a row of a head's output.
func (s *stage) sums(rows [3][]int16, to []int16) {
	for i := range s.width * s.block.out {
		to[i] = s.sum(rows, i)
	}
}

// sum is the 3x3 convolution for one value. Each step saturates, so that their order matters.
func (s *stage) sum(rows [3][]int16, i int) int16 {
	c := s.block.out
	sum := s.rest[i%c]
	for k := range 9 {
		sum = clamp16(int32(sum) + int32(rounded(rows[k/3][i+k%3*c], s.depth[k*c+i%c])))
	}
	return sum
}

// addDoubled adds a row of a coarser map, each cell twice, to a row of the finer one.
func addDoubled(fine, coarse []uint8) {
	const c = 64
	for i := range fine {
		fine[i] = clamp8(int32(fine[i]) + int32(coarse[i/(2*c)*c+i%c]))
	}
}

// rounded is the product of a value and a factor in 32768ths, rounded. The factor is never -32768.
func rounded(v, factor int16) int16 { return int16((int32(v)*int32(factor) + 1<<14) >> 15) }

func clamp16(v int32) int16 { return int16(min(max(v, -1<<15), 1<<15-1)) }
func clamp8(v int32) uint8  { return uint8(min(max(v, 0), 255)) }
