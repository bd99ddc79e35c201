package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"ashlar/replication/wire"
)

// past is a cluster with volumes of one segment, the content of their copies, and the labels of their disks: what is on the
// disks when all else is lost. Writes to a copy arrive in their order, at some copies later than at others.
type past struct {
	*rand.Rand
	*rig
	seq    map[wire.VolumeID]uint64
	blocks map[wire.VolumeID][]uint64 // by block: the last writing that was acknowledged
	begun  map[wire.VolumeID][]uint64
	flight map[wire.VolumeID][]*flying
	disks  map[DiskID]*platter
	images []image
	head   map[wire.VolumeID]uint64 // epoch that serves
	number int
	lazy   map[DiskID]int // how rarely a commit point is durable
	packed *Label         // the present state's, or an earlier one's
}

const blocksOfPast = 6

// flying is a write that is not acknowledged.
type flying struct {
	block   int
	writing uint64
	version wire.Version
	arrived map[DiskID]bool
}

// platter is what is on a disk.
type platter struct {
	label    []byte
	nonces   []string
	copies   map[wire.VolumeID]*stored
	promises map[wire.VolumeID]uint64
}

type stored struct {
	commit wire.Version
	blocks [blocksOfPast]cell
}

type cell struct {
	version wire.Version
	writing uint64
}

// image is what a disk was at some time.
type image struct {
	disk DiskID
	platter
}

func (p *platter) clone() platter {
	c := *p
	c.copies, c.promises = map[wire.VolumeID]*stored{}, maps.Clone(p.promises)
	for v, s := range p.copies {
		twin := *s
		c.copies[v] = &twin
	}
	return c
}

func newPast(t testing.TB, seed uint64) *past {
	p := &past{Rand: rand.New(rand.NewPCG(seed, 1)), rig: newRig(t, 3, 3), seq: map[wire.VolumeID]uint64{}, blocks: map[wire.VolumeID][]uint64{},
		begun: map[wire.VolumeID][]uint64{}, flight: map[wire.VolumeID][]*flying{}, disks: map[DiskID]*platter{}, head: map[wire.VolumeID]uint64{}, lazy: map[DiskID]int{}}
	for _, id := range p.DiskIDs() {
		p.lazy[id] = 1 + p.IntN(2)*p.IntN(60)
		p.disks[id] = &platter{copies: map[wire.VolumeID]*stored{}, promises: map[wire.VolumeID]uint64{}}
		p.reopen(id)
	}
	for i := range 3 {
		v := p.good(Command{CreateVolume: &CreateVolume{Name: fmt.Sprint("v", i), Bytes: mib, Copies: 2 + i%2}}).Volume
		p.blocks[v], p.begun[v] = make([]uint64, blocksOfPast), make([]uint64, blocksOfPast)
	}
	p.takeOver()
	p.label()
	return p
}

// reopen draws anew what the disk is known by.
func (p *past) reopen(id DiskID) {
	p.number++
	d, noted, drawn := p.disks[id], p.Disks[id].Nonce, fmt.Sprint(p.number)
	d.nonces = (&Label{Nonces: d.nonces}).Known(noted, drawn)
	p.good(Command{NoteDisk: &NoteDisk{ID: id, From: noted, To: drawn, Incarnation: p.Nodes[p.Disks[id].Node].Incarnation}})
}

// label has the disks of all nodes that run carry the present state.
func (p *past) label() {
	for _, id := range p.DiskIDs() {
		if p.Nodes[p.Disks[id].Node].Up && !p.Disks[id].Failed {
			p.labelDisk(id)
		}
	}
}

func (p *past) labelDisk(id DiskID) {
	if p.packed == nil || p.packed.Index != p.Index || p.packed.Lineage != p.Lineage {
		l, err := NewLabel(p.State)
		if err != nil {
			p.t.Fatal(err)
		}
		p.packed = l
	}
	l := *p.packed
	l.Nonces = p.disks[id].nonces
	var err error
	if p.disks[id].label, err = l.Marshal(1 << 20); err != nil {
		p.t.Fatal(err)
	}
}

func (p *past) copyOn(id DiskID, v wire.VolumeID) *stored {
	d := p.disks[id]
	if d.copies[v] == nil {
		d.copies[v] = &stored{}
	}
	return d.copies[v]
}

// takeOver begins the reigns of heads that are new: the tails of all copies in sync become equal, under new versions.
func (p *past) takeOver() {
	for _, id := range p.VolumeIDs() {
		v := p.Volumes[id]
		if v.Head == 0 || p.head[id] == v.Epoch {
			continue
		}
		if slices.ContainsFunc(v.Segments[0].Replicas, func(r Replica) bool { return r.InSync && !p.Usable(r) }) {
			continue // it has to answer, or to leave
		}
		p.head[id], p.seq[id], p.flight[id] = v.Epoch, 0, nil
		for _, r := range v.Segments[0].Replicas {
			if p.Usable(r) {
				p.disks[r.Disk].promises[id] = v.Epoch
			}
		}
		for b := range blocksOfPast {
			var best cell
			differ := false
			for _, r := range v.Segments[0].Replicas {
				if c := p.copyOn(r.Disk, id).blocks[b]; r.InSync {
					differ = differ || c != best && best != (cell{})
					if best.version.Less(c.version) {
						differ, best = true, c
					}
				}
			}
			if differ {
				p.send(id, b, best.writing)
			}
		}
		p.arriveAll(v, "") // before it serves
		p.settleWrites(id)
	}
}

func (p *past) send(id wire.VolumeID, block int, writing uint64) {
	p.seq[id]++
	p.flight[id] = append(p.flight[id], &flying{block, writing, wire.Version{Epoch: p.head[id], Seq: p.seq[id]}, map[DiskID]bool{}})
}

// arriveAll has all that is in flight come to the copies in sync, and to one more.
func (p *past) arriveAll(v *Volume, more DiskID) {
	for _, f := range p.flight[v.ID] {
		for _, r := range v.Segments[0].Replicas {
			if r.InSync || r.Disk == more {
				p.arrive(v.ID, r.Disk, f)
			}
		}
	}
}

func (p *past) arrive(id wire.VolumeID, d DiskID, f *flying) {
	if !f.arrived[d] {
		f.arrived[d] = true
		p.copyOn(d, id).blocks[f.block] = cell{f.version, f.writing}
	}
}

// settleWrites acknowledges what every copy in sync has.
func (p *past) settleWrites(id wire.VolumeID) {
	left := p.flight[id][:0]
	for _, f := range p.flight[id] {
		stored := true
		for _, r := range p.Volumes[id].Segments[0].Replicas {
			stored = stored && (!r.InSync || f.arrived[r.Disk])
		}
		if stored {
			p.blocks[id][f.block] = max(p.blocks[id][f.block], f.writing)
		} else {
			left = append(left, f)
		}
	}
	p.flight[id] = left
	commit := wire.Version{Epoch: p.head[id], Seq: p.seq[id]}
	if len(left) > 0 {
		commit.Seq = left[0].version.Seq - 1
	}
	for _, r := range p.Volumes[id].Segments[0].Replicas {
		if c := p.copyOn(r.Disk, id); r.InSync && p.IntN(p.lazy[r.Disk]) == 0 && c.commit.Less(commit) {
			c.commit = commit // the others hear of it later, or lose it
		}
	}
}

func (p *past) serves(v *Volume) bool { return v.Head != 0 && p.head[v.ID] == v.Epoch }

// join has a copy that is out of its set catch up, and enter it.
func (p *past) join(v *Volume, r Replica) {
	p.label() // it was away for longer than a label takes
	if p.IntN(4) > 0 {
		p.arriveAll(v, "") // first all is settled that it was not sent
		p.settleWrites(v.ID)
		source := v.Segments[0].InSync()[0]
		from, to := p.copyOn(v.Segments[0].On(source).Disk, v.ID), p.copyOn(r.Disk, v.ID)
		for b := range blocksOfPast {
			if p.IntN(8) == 0 {
				return // it broke off: some blocks are new, others old
			}
			if to.blocks[b].version.Less(from.blocks[b].version) {
				to.blocks[b] = from.blocks[b]
			} else if from.blocks[b] != to.blocks[b] {
				p.send(v.ID, b, from.blocks[b].writing)
			}
		}
		p.arriveAll(v, r.Disk)
		p.settleWrites(v.ID)
		p.do(Command{Join: &Join{Volume: v.ID, Epoch: v.Epoch, Node: r.Node, Incarnation: p.Nodes[r.Node].Incarnation,
			Segments: []SegmentGen{{0, v.Segments[0].Gen}}}})
		p.label()
	}
}

func (p *past) step() {
	id := wire.VolumeID(1 + p.IntN(3))
	v := p.Volumes[id]
	replicas := v.Segments[0].Replicas
	r := replicas[p.IntN(len(replicas))]
	n := wire.NodeID(1 + p.IntN(3))
	switch p.IntN(24) {
	case 0:
		up := 0
		for _, o := range p.Nodes {
			if o.Up {
				up++
			}
		}
		if up > 1 && p.Nodes[n].Up {
			p.good(Command{Fence: &Fence{Dead: []Dead{{n, p.Nodes[n].Incarnation}}, Refused: true}})
		}
	case 1, 2:
		if p.Nodes[n].Up {
			break
		}
		p.up(n)
		if d := disk(int(n)); !p.Disks[d].Failed {
			p.images = append(p.images, image{d, p.disks[d].clone()})
			p.reopen(d)
			p.label()
		}
	case 3:
		if p.IntN(12) == 0 && p.IntN(3) == 0 {
			p.do(Command{FailDisk: &FailDisk{ID: r.Disk}})
		}
	case 4:
		p.do(Command{Eject: &Eject{id, v.Epoch, r.Node}})
	case 5, 6:
		if p.serves(v) && !r.InSync && p.Usable(r) {
			p.join(v, r)
		}
	case 7:
		p.do(Command{MoveHead: &MoveHead{id, v.Epoch, r.Node}})
	case 8:
		p.label()
	default:
		if !p.serves(v) {
			break
		}
		b := p.IntN(blocksOfPast)
		p.begun[id][b]++
		p.send(id, b, p.begun[id][b])
		for _, r := range replicas { // up to some write, in order
			for _, f := range p.flight[id] {
				if !r.InSync || !p.Usable(r) || p.IntN(6) == 0 {
					break
				}
				p.arrive(id, r.Disk, f)
			}
		}
	}
	p.takeOver()
	for id, v := range p.Volumes {
		if p.serves(v) {
			p.settleWrites(id)
		}
	}
}

func (p *past) newestLabel() (index uint64) {
	for _, d := range p.disks {
		l, _ := parsed(p.t, d.label)
		index = max(index, l.Index)
	}
	return index
}

// find is what a search of a disk finds.
func (p *platter) find(id DiskID) FoundDisk {
	f := FoundDisk{Path: "/dev/" + string(id), ID: id, Cluster: "c0ffee", Label: p.label, Promises: p.promises}
	for v, s := range p.copies {
		c := FoundCopy{Volume: v, Commit: s.commit}
		for _, b := range s.blocks {
			if c.Highest.Less(b.version) {
				c.Highest = b.version
			}
		}
		f.Copies = append(f.Copies, c)
	}
	return f
}

// However a cluster came to its end, what it is formed of has all acknowledged writes, or it is said that it may not. A
// disk that is missing, or an old image of one, is never taken for the newest in silence.
func TestWhatAClusterIsAdoptedFromHasEveryAcknowledgedWrite(t *testing.T) {
	certain, doubtful, lost, behind, diverged := 0, 0, 0, 0, 0
	for seed := range uint64(600) {
		p := newPast(t, seed)
		for range 60 + p.IntN(120) {
			p.step()
		}
		var found []FoundDisk
		missing := map[DiskID]bool{}
		for _, id := range p.DiskIDs() {
			if p.IntN(6) > 0 {
				found = append(found, p.disks[id].find(id))
			} else {
				missing[id] = true
			}
		}
		old := DiskID("")
		if len(p.images) > 0 && p.IntN(2) == 0 {
			i := p.images[p.IntN(len(p.images))]
			for k := range found {
				if found[k].ID == i.disk && len(found) > 1 {
					old, found[k] = i.disk, i.find(i.disk)
				}
			}
		}
		a, r := Adopt(found)
		if len(found) == 0 {
			continue
		}
		if r.Problem != "" {
			t.Fatalf("seed %d: %s", seed, r.Problem)
		}
		for _, d := range a.Disks {
			if d.ID == old && d.Fate == DiskDiverged {
				diverged++
			}
		}
		untold := slices.ContainsFunc(a.Disks, func(d AdoptedDisk) bool { return d.ID == old && d.Fate == DiskTaken })
		if untold && p.newestLabel() > a.State.Index {
			continue // nothing is left that knows more than the image
		}
		next := a.Form(1, Renewal{Lineage: "two", Draw: func(n int) []byte { return make([]byte, n) }})
		for i, id := range a.State.VolumeIDs() {
			verdict, v := a.Volumes[i], next.Volumes[id]
			in := v.Segments[0].InSync()
			switch {
			case verdict.Lost > 0:
				lost++
				if !slices.Equal(in, a.State.Volumes[id].Segments[0].InSync()) {
					t.Fatalf("seed %d: volume %d has no copy in sync, and its set became %v", seed, id, in)
				}
				continue
			case len(in) != 1:
				t.Fatalf("seed %d: volume %d goes on with %v", seed, id, in)
			}
			for _, f := range found {
				if v.Epoch <= f.Promises[id] || v.Epoch <= p.Volumes[id].Epoch {
					t.Fatalf("seed %d: volume %d goes on in epoch %d, and disk %s has promised %d of %d", seed, id, v.Epoch, f.ID, f.Promises[id], p.Volumes[id].Epoch)
				}
			}
			if verdict.Doubtful > 0 {
				doubtful++
				continue
			}
			certain++
			chosen := v.Segments[0].On(in[0]).Disk
			if !slices.ContainsFunc(p.Volumes[id].Segments[0].Replicas, func(r Replica) bool { return r.InSync && r.Disk == chosen }) {
				behind++
			}
			if missing[chosen] || chosen == old && !untold {
				t.Fatalf("seed %d: volume %d goes on with disk %s, which is not taken", seed, id, chosen)
			}
			has := p.disks[chosen].copies[id]
			if chosen == old {
				continue // an image of the time since it was opened last is told by nothing but what the others have
			}
			for b, acknowledged := range p.blocks[id] {
				if has == nil && acknowledged > 0 || has != nil && has.blocks[b].writing < acknowledged {
					t.Fatalf("seed %d: volume %d goes on with disk %s, whose block %d misses writing %d:\n%+v", seed, id, chosen, b, acknowledged, p.Volumes[id].Segments)
				}
			}
		}
	}
	t.Logf("%d volumes go on, %d with loss, %d not; %d of copies that had left their set; %d old images told", certain, doubtful, lost, behind, diverged)
	if certain < 500 || doubtful < 100 || lost < 20 || diverged < 20 {
		t.Error("this checks little")
	}
}

func TestDisksThatTellOfDifferentPastsAreRefused(t *testing.T) {
	p := newPast(t, 1)
	all := func() (l []FoundDisk) {
		for _, id := range p.DiskIDs() {
			l = append(l, p.disks[id].find(id))
		}
		return l
	}
	for what, c := range map[string]struct {
		change func([]FoundDisk) []FoundDisk
		code   Code
		says   string
	}{
		"none":                {func(l []FoundDisk) []FoundDisk { return nil }, Invalid, "no disk"},
		"a disk twice":        {func(l []FoundDisk) []FoundDisk { l[1].ID = l[0].ID; return l }, Refused, "copy of the other"},
		"two clusters":        {func(l []FoundDisk) []FoundDisk { l[2].Cluster = "other"; return l }, Refused, "cluster other"},
		"labels that decayed": {func(l []FoundDisk) []FoundDisk { l[0].Label = []byte("?"); return l[:1] }, NotFound, "none of the disks"},
		"two lineages": {func(l []FoundDisk) []FoundDisk {
			l[0].Label, l[1].Label = labelOf(t, p.State.Reform(1, "one")), labelOf(t, p.State.Reform(2, "two"))
			return l
		}, Refused, "two lineages"},
	} {
		if _, r := Adopt(c.change(all())); r.Code != c.code || !strings.Contains(r.Problem, c.says) {
			t.Errorf("%s: %+v", what, r)
		}
	}
	// Of a lineage and what it was formed of the newer one counts, whatever came first.
	l := all()
	l[2].Label = labelOf(t, p.State.Reform(3, "one"))
	if a, r := Adopt(l); r.Problem != "" || a.State.Lineage != "one" {
		t.Errorf("%+v", r)
	}
}

// A newer state that did not fit on a disk is not passed over.
func TestANewerStateThatDidNotFitIsALoss(t *testing.T) {
	p := newPast(t, 1)
	l := []FoundDisk{p.disks[disk(1)].find(disk(1)), p.disks[disk(2)].find(disk(2)), p.disks[disk(3)].find(disk(3))}
	if a, r := Adopt(l); r.Problem != "" || a.Loses() {
		t.Fatalf("with all disks: %+v, %+v", a, r)
	}
	p.good(Command{AddHost: &AddHost{Name: "h", IQN: "iqn.2001-04.com.example:h"}})
	late, err := NewLabel(p.State)
	if err != nil {
		t.Fatal(err)
	}
	late.Nonces = p.disks[disk(3)].nonces
	if l[2].Label, err = late.Marshal(400); err != nil {
		t.Fatal(err)
	}
	if a, r := Adopt(l); r.Problem != "" || a.Newer != p.Index || !a.Loses() {
		t.Errorf("%+v, %+v", a, r)
	}
}

// Hosts that had to prove something are kept out until somebody sets what: by secrets that nobody knows.
func TestHostsWhoseSecretsAreLostAreLockedOut(t *testing.T) {
	p := newPast(t, 1)
	p.good(Command{AddHost: &AddHost{Name: "open", IQN: "iqn.2001-04.com.example:o"}})
	p.good(Command{AddHost: &AddHost{Name: "both", IQN: "iqn.2001-04.com.example:b", NQN: "nqn.2014-08.org.nvmexpress:uuid:1"}})
	p.good(Command{SetCHAP: &SetCHAP{"both", CHAP{Secret: Secret("twelve bytes")}}})
	key := "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"
	p.good(Command{SetDHCHAP: &SetDHCHAP{"both", DHCHAP{Host: Secret(key)}}})
	p.label()
	a, r := Adopt([]FoundDisk{p.disks[disk(1)].find(disk(1))})
	if r.Problem != "" || !slices.Equal(a.Locked, []string{"both"}) {
		t.Fatalf("%+v, locked %v", r, a.Locked)
	}
	drawn := byte(7)
	next := a.Form(1, Renewal{Lineage: "two", Draw: func(n int) []byte { drawn++; return slices.Repeat([]byte{drawn}, n) }})
	h := next.Hosts["both"]
	host, _, err := h.DHCHAP.Secrets()
	if err != nil || host.Text() == key || len(h.CHAP.Secret) < chapSecretMin || string(h.CHAP.Secret) == "twelve bytes" || !h.CHAP.Lost || !h.DHCHAP.Lost {
		t.Errorf("%v, %v, %+v", host, err, h)
	}
	if o := next.Hosts["open"]; o.CHAP != nil || o.DHCHAP != nil {
		t.Errorf("a host that had nothing to prove: %+v", o)
	}
	after, _ := next.Apply(next.Index+1, Command{SetCHAP: &SetCHAP{"both", CHAP{Secret: Secret("another twelve")}}})
	if after.Hosts["both"].CHAP.Lost {
		t.Error("a new secret is still said to be lost")
	}
}

// The other nodes keep their numbers, and are what joins under their names; who was expelled stays out.
func TestNodesOfAnAdoptedClusterAreAwaited(t *testing.T) {
	p := newPast(t, 1)
	p.State = p.State.Reform(1, "one")
	p.label()
	a, r := Adopt([]FoundDisk{p.disks[disk(1)].find(disk(1))})
	if r.Problem != "" {
		t.Fatal(r.Problem)
	}
	next := a.Form(1, Renewal{Lineage: "two"})
	if next.Nodes[2].Awaited || !next.Nodes[2].Expelled || next.Nodes[1].Awaited || !next.Nodes[1].Voter || next.Nodes[1].Up {
		t.Errorf("%s", text(next.Nodes))
	}
	if !slices.Equal(next.Forebears, []Forebear{{"", p.Forebears[0].Index}, {"one", a.State.Index}}) {
		t.Errorf("forebears %+v", next.Forebears)
	}
	p = newPast(t, 1)
	a, _ = Adopt([]FoundDisk{p.disks[disk(1)].find(disk(1))})
	next = a.Form(1, Renewal{Lineage: "two"})
	if !next.Nodes[2].Awaited || len(next.Voters()) != 1 {
		t.Errorf("%s", text(next.Nodes))
	}
	next, _ = next.Apply(next.Index+1, Command{Register: &Register{Node: 2}})
	if n := next.Nodes[2]; n.Awaited || !n.Up || n.Incarnation != p.Nodes[2].Incarnation+1 {
		t.Errorf("%+v", n)
	}
}
