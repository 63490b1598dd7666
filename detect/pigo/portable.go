package pigo

// portable evaluates window by window, tree by tree.
type portable struct {
	cascade *Cascade
	nodes   [][2]int32 // offsets of the nodes' two pixels, 1<<depth per tree
}

func (s *portable) scan(found []Window, img raster, grids []Grid) []Window {
	for i := range grids {
		found = s.scanOne(found, img, &grids[i])
	}
	return found
}

func (s *portable) scanOne(found []Window, img raster, g *Grid) []Window {
	c := s.cascade
	built := 0 // stages whose offsets are built; deep ones are seldom needed
	for r := range g.Rows {
		row := g.Row + r*g.Step
	windows:
		for i := range g.Cols {
			col := g.Col + i*g.Step
			at := (row+img.margin)*img.stride + col + img.margin
			sum := float32(0)
			for n, st := range c.stages {
				if n == built {
					s.build(st, img, g)
					built++
				}
				for t := st.from; t < st.to; t++ {
					sum += c.leaves[t<<c.depth+s.walk(img.pix, at, t)]
				}
				if sum <= st.threshold {
					continue windows
				}
			}
			if score := sum - c.thresholds[len(c.thresholds)-1]; score > 0 {
				found = append(found, Window{row, col, g.Size, score})
			}
		}
	}
	return found
}

// walk returns the leaf of a tree for the window around a pixel.
func (s *portable) walk(pix []uint8, at, tree int) int {
	nodes := s.nodes[tree<<s.cascade.depth:][:1<<s.cascade.depth]
	i := 1
	for i < len(nodes) {
		n := nodes[i]
		i *= 2
		if pix[at+int(n[1])] < pix[at+int(n[0])] {
			i++
		}
	}
	return i - len(nodes)
}

// build makes the offsets of a stage for a grid.
func (s *portable) build(st stage, img raster, g *Grid) {
	c := s.cascade
	if s.nodes == nil {
		s.nodes = make([][2]int32, len(c.codes)/4)
	}
	for i := st.from << c.depth; i < st.to<<c.depth; i++ {
		code := c.codes[4*i:][:4]
		s.nodes[i] = [2]int32{int32(g.offset(code[0], code[1], img.stride)),
			int32(g.offset(code[2], code[3], img.stride))}
	}
}
