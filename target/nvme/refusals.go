package nvme

// refusals are the answers that tell a host to come back. Linux sends a command
// that ended with a path error again at once, through this path or another one,
// for as long as there is a path, and takes no notice of CRD. So it is held back
// here: such an answer goes out at the second tick. It is under Controller.mu.
type refusals struct {
	fresh, due []*Request
}

// refuse ends a request that the host may send again, at the second tick from now.
func (r *Request) refuse(s Status) {
	c := r.controller
	c.mu.Lock()
	wait := !c.gone.Load() && !r.aborting.Load()
	if wait {
		r.Status = s
		c.refusals.fresh = append(c.refusals.fresh, r)
	}
	c.mu.Unlock()
	if !wait {
		r.finish(s)
	}
}

// tick gives back those whose time has come.
func (f *refusals) tick() []*Request {
	due := f.due
	f.due, f.fresh = f.fresh, nil
	return due
}

// release gives back all of them.
func (f *refusals) release() []*Request {
	all := append(f.due, f.fresh...)
	*f = refusals{}
	return all
}

// drop takes a request out, if it is there.
func (f *refusals) drop(r *Request) bool {
	for _, all := range []*[]*Request{&f.due, &f.fresh} {
		for i, o := range *all {
			if o == r {
				*all = append((*all)[:i:i], (*all)[i+1:]...)
				return true
			}
		}
	}
	return false
}

func finishRefused(all []*Request) {
	for _, r := range all {
		r.finish(r.Status)
	}
}
