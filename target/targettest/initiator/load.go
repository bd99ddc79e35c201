package initiator

// loadDepth is how many commands of a Load are under way at once.
const loadDepth = 32

// Load gives a function that has n reads or writes of 4 KiB carried out at logical unit 0, whose blocks have 512 bytes, 32
// at a time, and returns when all have ended, with the first error. It allocates nothing for a command.
func (s *Session) Load(write bool) func(n int) error {
	idle := make(chan *Command, loadDepth)
	for i := range loadDepth {
		c := &Command{Done: func(c *Command) { idle <- c }}
		if write {
			c.CDB, c.Out = CDB16(0x8a, uint64(i)*8, 8), make([]byte, 4096)
		} else {
			c.CDB, c.In = CDB16(0x88, uint64(i)*8, 8), make([]byte, 4096)
		}
		idle <- c
	}
	all := make([]*Command, 0, loadDepth)
	return func(n int) (first error) {
		for ; n > 0; n-- {
			c := <-idle
			if first = c.Result(); first != nil {
				idle <- c
				break
			}
			s.Submit(c)
		}
		for all = all[:0]; len(all) < loadDepth; {
			all = append(all, <-idle)
		}
		for _, c := range all {
			if err := c.Result(); first == nil {
				first = err
			}
			idle <- c
		}
		return first
	}
}
