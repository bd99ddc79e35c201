package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ashlar/node/cluster"
	"ashlar/node/freeport"
	"ashlar/replication/wire"
	"ashlar/target/nvme"
	"ashlar/target/nvme/auth"
	"ashlar/target/targettest/initiator"
	"ashlar/target/targettest/nvmehost"
)

const (
	webNQN  = "nqn.2014-08.org.nvmexpress:uuid:0cd8ea3f-8b26-4b5c-8c4e-4f8f5e1b6a01"
	mailNQN = "nqn.2014-08.org.nvmexpress:uuid:0cd8ea3f-8b26-4b5c-8c4e-4f8f5e1b6a02"
)

// hostOf is the host with an NQN, whose Host Identifier follows from it.
func hostOf(nqn string) nvme.Host {
	h := nvme.Host{NQN: nqn}
	copy(h.ID[:], nqn[len(nqn)-16:])
	return h
}

// nvmeConfig is newConfig with NVMe/TCP.
func nvmeConfig(t *testing.T, name string) Config {
	t.Helper()
	c := newConfig(t, name)
	ports, err := freeport.Take([]string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}, 2)
	must(t, err)
	c.NVMePort, c.DiscoveryPort = ports[0], ports[1]
	return c
}

// nvmeCluster is one node with the volume "db", which is published to "web", who has both names.
func nvmeCluster(t *testing.T) *Node {
	t.Helper()
	n := newClusterOf(t, nvmeConfig(t, "node1"))
	_, err := n.AddDisk(limit(t), filepath.Join(t.TempDir(), "disk"), 64<<20, false)
	must(t, err)
	createVolume(t, n, "db", 8<<20, 1)
	must(t, n.AddHostAs(limit(t), cluster.AddHost{Name: "web", IQN: webIQN, NQN: webNQN}))
	must(t, n.AddHostAs(limit(t), cluster.AddHost{Name: "mail", NQN: mailNQN}))
	must(t, n.Publish(limit(t), "db", "web", false))
	return n
}

// nvmeThree are three nodes with the volume "db", a copy on each, published to "web".
func nvmeThree(t *testing.T) []*Node {
	t.Helper()
	nodes := newThreeOf(t, 64<<20, nvmeConfig)
	createVolume(t, nodes[0], "db", 8<<20, 3)
	must(t, nodes[0].AddHostAs(limit(t), cluster.AddHost{Name: "web", IQN: webIQN, NQN: webNQN}))
	must(t, nodes[0].AddHostAs(limit(t), cluster.AddHost{Name: "mail", NQN: mailNQN}))
	must(t, nodes[0].Publish(limit(t), "db", "web", false))
	return nodes
}

// connect makes a controller at a node; o may be left out.
func connect(t *testing.T, n *Node, nqn string, o nvmehost.Options) (*nvmehost.Controller, error) {
	t.Helper()
	if o.Host.NQN == "" {
		o.Host = hostOf(webNQN)
	}
	address := n.Config().NVMeTexts()[0]
	if nqn == nvme.DiscoveryNQN {
		address, o.Queues = n.Config().DiscoveryTexts()[0], -1
	}
	c, err := nvmehost.Dial(limit(t), address, nqn, o)
	if err == nil {
		t.Cleanup(c.Close)
	}
	return c, err
}

func mustConnect(t *testing.T, n *Node, nqn string, o nvmehost.Options) (c *nvmehost.Controller) {
	t.Helper()
	eventually(t, "a controller of "+nqn, func() bool {
		var err error
		c, err = connect(t, n, nqn, o)
		if err != nil && !nvmehost.Is(err, nvme.ControllerBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	return c
}

// nqnOf is a volume's, and its namespace there.
func nqnOf(t *testing.T, n *Node, volume string) (string, uint32) {
	t.Helper()
	s := state(t, n)
	return s.NQN(s.VolumeNamed(volume)), s.VolumeNamed(volume).OwnNSID()
}

// discovered are the entries of a discovery log page: NQN, address:port.
func discovered(t *testing.T, c *nvmehost.Controller) (generation uint64, entries []string) {
	t.Helper()
	header, err := c.Log(limit(t), 0x70, 0, 1024, false)
	must(t, err)
	n := int(binary.LittleEndian.Uint64(header[8:]))
	page, err := c.Log(limit(t), 0x70, 0, 1024*(1+n), false)
	must(t, err)
	for e := page[1024:]; len(e) >= 1024; e = e[1024:] {
		text := func(from, to int) string { return strings.TrimRight(string(e[from:to]), " \x00") }
		entries = append(entries, text(256, 512)+" "+text(512, 768)+":"+text(32, 64))
	}
	return binary.LittleEndian.Uint64(header), entries
}

// active are the namespaces of a controller.
func active(t *testing.T, c *nvmehost.Controller) (all []uint32) {
	t.Helper()
	b, err := c.Identify(limit(t), 0x02, 0)
	must(t, err)
	for ; binary.LittleEndian.Uint32(b) != 0; b = b[4:] {
		all = append(all, binary.LittleEndian.Uint32(b))
	}
	return all
}

func TestWhatIsPublishedIsThereWithBothProtocols(t *testing.T) {
	t.Parallel()
	n := nvmeCluster(t)
	nqn, nsid := nqnOf(t, n, "db")
	_, found := discovered(t, mustConnect(t, n, nvme.DiscoveryNQN, nvmehost.Options{}))
	if want := []string{nqn + " " + n.Config().NVMeTexts()[0]}; !slices.Equal(found, want) {
		t.Errorf("discovered %v, want %v", found, want)
	}
	if _, found = discovered(t, mustConnect(t, n, nvme.DiscoveryNQN, nvmehost.Options{Host: hostOf(mailNQN)})); len(found) != 0 {
		t.Errorf("another host discovers %v", found)
	}
	for _, stranger := range []string{mailNQN, "nqn.2014-08.org.nvmexpress:uuid:0cd8ea3f-8b26-4b5c-8c4e-4f8f5e1b6a99"} {
		if _, err := connect(t, n, nqn, nvmehost.Options{Host: hostOf(stranger)}); !nvmehost.Is(err, nvme.InvalidHost) {
			t.Errorf("%s connects: %v", stranger, err)
		}
	}
	c := mustConnect(t, n, nqn, nvmehost.Options{HeaderDigest: true, DataDigest: true})
	if got := active(t, c); !slices.Equal(got, []uint32{nsid}) {
		t.Errorf("namespaces %d, want %d", got, nsid)
	}
	s, err := login(t, n, "web", state(t, n).IQN(state(t, n).VolumeNamed("db")))
	must(t, err)
	ready(t, s)
	written, read := pattern(64<<10, 3), make([]byte, 64<<10)
	must(t, c.IO[0].Write(limit(t), nsid, 16, written, 512))
	must(t, s.Read(limit(t), 0, 16, read, 512))
	if !bytes.Equal(read, written) {
		t.Error("iSCSI reads something else than NVMe wrote")
	}
	written = pattern(64<<10, 4)
	must(t, s.Write(limit(t), 0, 16, written, 512))
	must(t, c.IO[0].Read(limit(t), nsid, 16, read, 512))
	if !bytes.Equal(read, written) {
		t.Error("NVMe reads something else than iSCSI wrote")
	}
	must(t, n.Withdraw(limit(t), "db", "web"))
	select {
	case <-c.Admin.Ended():
	case <-time.After(timeout):
		t.Error("the controller lives on after its volume was taken back")
	}
	if _, err := connect(t, n, nqn, nvmehost.Options{}); !nvmehost.Is(err, nvme.InvalidHost) {
		t.Errorf("it connects again: %v", err)
	}
}

func TestAHostThatMayOnlyReadDoesNotWriteWithNVMe(t *testing.T) {
	t.Parallel()
	n := nvmeCluster(t)
	must(t, n.Publish(limit(t), "db", "mail", true))
	nqn, nsid := nqnOf(t, n, "db")
	c := mustConnect(t, n, nqn, nvmehost.Options{Host: hostOf(mailNQN)})
	must(t, c.IO[0].Read(limit(t), nsid, 0, make([]byte, 512), 512))
	if err := c.IO[0].Write(limit(t), nsid, 0, make([]byte, 512), 512); !nvmehost.Is(err, nvme.WriteProtected) {
		t.Errorf("a write: %v", err)
	}
}

// In the cluster's own subsystem namespaces come and go, and grow, under a host that is connected.
func TestAHostFindsItsNumberedNamespacesBesideEachOther(t *testing.T) {
	t.Parallel()
	n := nvmeCluster(t)
	createVolume(t, n, "a", 4<<20, 1)
	createVolume(t, n, "b", 4<<20, 1)
	must(t, n.PublishAs(limit(t), "a", "web", 5, false))
	nqn := state(t, n).ClusterNQN()
	nsid := func(volume string) uint32 { return state(t, n).VolumeNamed(volume).NSID }
	d := mustConnect(t, n, nvme.DiscoveryNQN, nvmehost.Options{})
	before, found := discovered(t, d)
	if len(found) != 2 || !slices.Contains(found, nqn+" "+n.Config().NVMeTexts()[0]) {
		t.Errorf("discovered %v", found)
	}
	c := mustConnect(t, n, nqn, nvmehost.Options{})
	if got := active(t, c); !slices.Equal(got, []uint32{nsid("a")}) {
		t.Errorf("namespaces %d", got)
	}
	about, err := c.Identify(limit(t), 1, 0)
	must(t, err)
	if about[525]&1 == 0 {
		t.Error("a volume with a write cache may come, and hosts would not flush it")
	}
	must(t, c.IO[0].Write(limit(t), nsid("a"), 0, pattern(4096, 1), 512))
	must(t, n.PublishAs(limit(t), "b", "web", 7, true))
	if got := active(t, c); !slices.Equal(got, []uint32{nsid("a"), nsid("b")}) {
		t.Errorf("namespaces %d", got)
	}
	if err := c.IO[0].Write(limit(t), nsid("b"), 0, pattern(4096, 1), 512); !nvmehost.Is(err, nvme.WriteProtected) {
		t.Errorf("a write to what is read-only: %v", err)
	}
	must(t, n.ResizeVolume(limit(t), "b", 8<<20))
	eventually(t, "its namespace has 8 MiB", func() bool { // nodes hear of it one after the other
		space, err := c.Identify(limit(t), 0, nsid("b"))
		must(t, err)
		return binary.LittleEndian.Uint64(space) == 8<<20/512
	})
	if after, _ := discovered(t, d); after == before {
		t.Error("what there is to discover has the generation of before")
	}
	must(t, n.Withdraw(limit(t), "a", "web"))
	if got := active(t, c); !slices.Equal(got, []uint32{nsid("b")}) {
		t.Errorf("namespaces %d", got)
	}
	if err := c.IO[0].Read(limit(t), 1, 0, make([]byte, 512), 512); !nvmehost.Is(err, nvme.InvalidNamespace) {
		t.Errorf("a read of what was taken back: %v", err)
	}
}

// prove authenticates a queue as a host does.
func prove(c auth.HostConfig) func(context.Context, *nvmehost.Queue) error {
	return func(ctx context.Context, q *nvmehost.Queue) error {
		return c.Authenticate(authQueue{ctx, q}, 3, 4, rand.Reader)
	}
}

// authQueue carries authentication messages.
type authQueue struct {
	ctx context.Context
	q   *nvmehost.Queue
}

func (a authQueue) command(kind uint32, n int) *nvmehost.Command {
	c := nvmehost.New(nvme.Fabrics, kind)
	c.Command[41], c.Command[42], c.Command[43] = 1, 1, 0xE9 // SPSP0, SPSP1, SECP
	binary.LittleEndian.PutUint32(c.Command[44:], uint32(n))
	return c
}

func (a authQueue) AuthenticationSend(b []byte) error {
	c := a.command(nvme.AuthSend, len(b))
	c.Out = b
	return a.q.Do(a.ctx, c)
}

func (a authQueue) AuthenticationReceive() ([]byte, error) {
	c := a.command(nvme.AuthReceive, 4096)
	c.In = make([]byte, 4096)
	err := a.q.Do(a.ctx, c)
	return c.In[:c.Received], err
}

func secretNVMe(t *testing.T) (auth.Secret, cluster.Secret) {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	s, err := auth.NewSecret(auth.SHA256, key)
	must(t, err)
	return s, cluster.Secret(s.Text())
}

func TestAnNVMeHostWithASecretHasToProveIt(t *testing.T) {
	t.Parallel()
	n := nvmeCluster(t)
	db, nsid := nqnOf(t, n, "db")
	host, hostText := secretNVMe(t)
	controller, controllerText := secretNVMe(t)
	other, _ := secretNVMe(t)
	must(t, n.SetDHCHAP(limit(t), "web", cluster.DHCHAP{Host: hostText, Controller: controllerText}))
	config := func(h, c auth.Secret) nvmehost.Options {
		return nvmehost.Options{Authenticate: prove(auth.HostConfig{HostNQN: webNQN, SubsystemNQN: db, Host: h, Controller: c})}
	}
	if _, err := connect(t, n, db, nvmehost.Options{}); !nvmehost.Is(err, nvme.AuthenticationRequired) {
		t.Errorf("without a proof: %v", err)
	}
	for what, o := range map[string]nvmehost.Options{"another secret": config(other, auth.Secret{}), "another controller": config(host, other)} {
		if _, err := connect(t, n, db, o); err == nil || !strings.Contains(err.Error(), auth.Failed.String()) {
			t.Errorf("with %s: %v", what, err)
		}
	}
	mustConnect(t, n, db, config(host, auth.Secret{}))
	c := mustConnect(t, n, db, config(host, controller))
	must(t, config(host, controller).Authenticate(limit(t), c.Admin)) // and again, on a queue that lives
	must(t, c.IO[0].Read(limit(t), nsid, 0, make([]byte, 512), 512))
	if config(other, auth.Secret{}).Authenticate(limit(t), c.IO[0]) == nil {
		t.Error("another secret is taken on a queue that lives")
	}
	select {
	case <-c.IO[0].Ended():
	case <-time.After(timeout):
		t.Error("the queue outlives a failure to prove it again")
	}
	if _, found := discovered(t, mustConnect(t, n, nvme.DiscoveryNQN, nvmehost.Options{})); len(found) != 1 {
		t.Errorf("it discovers %v, and has nothing to prove for that", found)
	}
	must(t, n.SetDHCHAP(limit(t), "web", cluster.DHCHAP{}))
	mustConnect(t, n, db, nvmehost.Options{})
}

// reserveOut is PERSISTENT RESERVE OUT.
func reserveOut(t *testing.T, s *initiator.Session, action, kind byte, key, next uint64) error {
	t.Helper()
	c := &initiator.Command{CDB: make([]byte, 10), Out: make([]byte, 24)}
	c.CDB[0], c.CDB[1], c.CDB[2], c.CDB[8] = 0x5F, action, kind, 24
	binary.BigEndian.PutUint64(c.Out, key)
	binary.BigEndian.PutUint64(c.Out[8:], next)
	return s.Do(limit(t), c)
}

// reserveKeys is PERSISTENT RESERVE IN, READ KEYS.
func reserveKeys(t *testing.T, s *initiator.Session) (keys []uint64) {
	t.Helper()
	c := &initiator.Command{CDB: make([]byte, 10), In: make([]byte, 512)}
	c.CDB[0], c.CDB[7] = 0x5E, 2
	must(t, s.Do(limit(t), c))
	for at := 8; at < 8+int(binary.BigEndian.Uint32(c.In[4:])); at += 8 {
		keys = append(keys, binary.BigEndian.Uint64(c.In[at:]))
	}
	slices.Sort(keys)
	return keys
}

// registerNVMe is Reservation Register of a key, with IEKEY.
func registerNVMe(t *testing.T, c *nvmehost.Controller, nsid uint32, key uint64) error {
	t.Helper()
	const persist = 3 << 30
	cmd := nvmehost.New(nvme.ReservationRegister, nsid, persist|1<<3)
	cmd.Out = make([]byte, 16)
	binary.LittleEndian.PutUint64(cmd.Out[8:], key)
	return c.IO[0].Do(limit(t), cmd)
}

// acquireNVMe is Reservation Acquire.
func acquireNVMe(t *testing.T, c *nvmehost.Controller, nsid uint32, action, kind byte, key, preempted uint64) error {
	t.Helper()
	cmd := nvmehost.New(nvme.ReservationAcquire, nsid, uint32(action)|uint32(kind)<<8)
	cmd.Out = make([]byte, 16)
	binary.LittleEndian.PutUint64(cmd.Out, key)
	binary.LittleEndian.PutUint64(cmd.Out[8:], preempted)
	return c.IO[0].Do(limit(t), cmd)
}

// reportNVMe is Reservation Report: the type, and the keys of the registrants.
func reportNVMe(t *testing.T, c *nvmehost.Controller, nsid uint32) (kind byte, keys []uint64) {
	t.Helper()
	const n = 4096
	cmd := nvmehost.New(nvme.ReservationReport, nsid, n/4-1, 1) // EDS
	cmd.In = make([]byte, n)
	must(t, c.IO[0].Do(limit(t), cmd))
	for i := range int(binary.LittleEndian.Uint16(cmd.In[5:])) {
		keys = append(keys, binary.LittleEndian.Uint64(cmd.In[64+64*i+8:]))
	}
	slices.Sort(keys)
	return cmd.In[4], keys
}

// A reservation is the volume's, whatever protocol its host speaks, and stays over a restart.
func TestReservationsHoldAcrossProtocols(t *testing.T) {
	t.Parallel()
	n := nvmeCluster(t)
	must(t, n.Publish(limit(t), "db", "mail", false))
	nqn, nsid := nqnOf(t, n, "db")
	iqn := state(t, n).IQN(state(t, n).VolumeNamed("db"))
	const writeExclusiveRegistrants, block = 5, 512 // SCSI's number
	scsi, err := login(t, n, "web", iqn)
	must(t, err)
	ready(t, scsi)
	mail := nvmehost.Options{Host: hostOf(mailNQN)}
	c := mustConnect(t, n, nqn, mail)

	must(t, reserveOut(t, scsi, 0x06, 0, 0, 0xA))
	must(t, reserveOut(t, scsi, 0x01, writeExclusiveRegistrants, 0xA, 0))
	write := func() error { return c.IO[0].Write(limit(t), nsid, 0, pattern(block, 1), block) }
	must(t, c.IO[0].Read(limit(t), nsid, 0, make([]byte, block), block))
	if err := write(); !nvmehost.Is(err, nvme.ReservationConflict) {
		t.Errorf("NVMe writes what is reserved with SCSI: %v", err)
	}
	if kind, keys := reportNVMe(t, c, nsid); kind != 3 || !slices.Equal(keys, []uint64{0xA}) {
		t.Errorf("NVMe finds type %d of %x", kind, keys)
	}
	must(t, registerNVMe(t, c, nsid, 0xB))
	must(t, write())
	if keys := reserveKeys(t, scsi); !slices.Equal(keys, []uint64{0xA, 0xB}) {
		t.Errorf("SCSI finds %x", keys)
	}
	must(t, acquireNVMe(t, c, nsid, 1, 1, 0xB, 0xA)) // preempt: Write Exclusive
	if err := scsi.Write(limit(t), 0, 0, pattern(block, 2), block); err == nil {
		t.Error("SCSI writes what NVMe has taken")
	}

	must(t, n.Close())
	again := open(t, n.Config())
	eventually(t, "the node is ready again", again.Ready)
	c = mustConnect(t, again, nqn, mail)
	if kind, keys := reportNVMe(t, c, nsid); kind != 1 || !slices.Equal(keys, []uint64{0xB}) {
		t.Errorf("after a restart it is type %d of %x", kind, keys)
	}
	must(t, write())
	scsi, err = login(t, again, "web", iqn)
	must(t, err)
	insist(t, func() error { return reserveOut(t, scsi, 0x06, 0, 0, 0xC) })
	if err := scsi.Write(limit(t), 0, 0, pattern(block, 2), block); err == nil {
		t.Error("SCSI writes what NVMe has reserved, after a restart")
	}
}

// anaStates are the states of a controller's ANA groups that have namespaces, by group.
func anaStates(t *testing.T, c *nvmehost.Controller) map[uint32]byte {
	t.Helper()
	b, err := c.Log(limit(t), 0x0C, 0, 4096, false)
	must(t, err)
	states := map[uint32]byte{}
	groups := binary.LittleEndian.Uint16(b[8:])
	for d := b[16:]; groups > 0; groups-- {
		n := binary.LittleEndian.Uint32(d[4:])
		if n > 0 {
			states[binary.LittleEndian.Uint32(d)] = d[16]
		}
		d = d[32+4*n:]
	}
	return states
}

const optimized, nonOptimized = 1, 2 // ANA states

func TestEachNodeIsAPathOfOneSubsystem(t *testing.T) {
	t.Parallel()
	nodes := nvmeThree(t)
	nqn, nsid := nqnOf(t, nodes[0], "db")
	var portals []string
	for _, n := range nodes {
		portals = append(portals, nqn+" "+n.Config().NVMeTexts()[0])
	}
	var paths []*nvmehost.Controller
	identities, controllers, generations := map[string]int{}, map[uint16]bool{}, map[uint64]bool{}
	for _, n := range nodes {
		generation, found := discovered(t, mustConnect(t, n, nvme.DiscoveryNQN, nvmehost.Options{}))
		generations[generation] = true
		if !slices.Equal(slices.Sorted(slices.Values(found)), slices.Sorted(slices.Values(portals))) {
			t.Errorf("through %s: discovered %v, want %v", n.Config().Name, found, portals)
		}
		c := mustConnect(t, n, nqn, nvmehost.Options{Queues: 2})
		paths = append(paths, c)
		controllers[c.ID] = true
		descriptors, err := c.Identify(limit(t), 0x03, nsid)
		must(t, err)
		identities[string(descriptors)]++
	}
	if len(identities) != 1 || len(controllers) != 3 || len(generations) != 1 {
		t.Errorf("%d identities, controllers %v, generations %v", len(identities), controllers, generations)
	}
	heads := func() (head int) {
		head = -1
		for i, c := range paths {
			switch s := anaStates(t, c); {
			case s[nsid] == optimized && head < 0 && len(s) == 1:
				head = i
			case s[nsid] != nonOptimized:
				return -1
			}
		}
		return head
	}
	head := heads()
	if head < 0 {
		t.Fatal("no path alone is optimized")
	}
	for i, c := range paths {
		must(t, c.IO[i%2].Write(limit(t), nsid, uint64(8*i), pattern(4096, byte(i)), 512))
	}
	for _, c := range paths {
		for i := range paths {
			read := make([]byte, 4096)
			must(t, c.IO[0].Read(limit(t), nsid, uint64(8*i), read, 512))
			if !bytes.Equal(read, pattern(4096, byte(i))) {
				t.Errorf("path %d reads something else than path %d wrote", c.ID, i)
			}
		}
	}
	next := (head + 1) % 3
	moveHead(t, nodes[0], "db", nodes[next].Config().Name)
	eventually(t, "the path to the new head is the optimized one", func() bool { return heads() == next })
	must(t, paths[head].IO[0].Write(limit(t), nsid, 0, pattern(4096, 9), 512))
}

// A host that gives a path up has that path's controller ended through another one, and knows
// from then on that nothing it sent there can come after what it sends now.
func TestAControllerIsResetThroughAnotherNode(t *testing.T) {
	t.Parallel()
	nodes := nvmeThree(t)
	nqn, nsid := nqnOf(t, nodes[0], "db")
	first, second := mustConnect(t, nodes[1], nqn, nvmehost.Options{}), mustConnect(t, nodes[2], nqn, nvmehost.Options{})
	reset := func(by *nvmehost.Controller, id uint16) (uint64, error) {
		c := nvmehost.New(nvme.CrossControllerReset, 0, uint32(id))
		return c.Result, by.Admin.Do(limit(t), c)
	}
	if _, err := reset(second, first.ID); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.Admin.Ended():
	case <-time.After(timeout):
		t.Error("the controller lives on")
	}
	must(t, second.IO[0].Write(limit(t), nsid, 0, pattern(4096, 9), 512))
	// Another host's cannot be ended.
	must(t, nodes[0].Publish(limit(t), "db", "mail", false))
	other := mustConnect(t, nodes[1], nqn, nvmehost.Options{Host: hostOf(mailNQN)})
	reset(second, other.ID)
	must(t, other.IO[0].Read(limit(t), nsid, 0, make([]byte, 512), 512))
}

func TestNVMeHostsLeaveADrainedNode(t *testing.T) {
	t.Parallel()
	nodes := nvmeThree(t)
	nqn, nsid := nqnOf(t, nodes[0], "db")
	c := mustConnect(t, nodes[1], nqn, nvmehost.Options{})
	left, err := nodes[0].Drain(limit(t), "node2", false)
	must(t, err)
	if left != 0 {
		t.Errorf("%d are left", left)
	}
	select {
	case <-c.Admin.Ended():
	default:
		t.Error("the controller is still there")
	}
	if _, err := connect(t, nodes[1], nqn, nvmehost.Options{}); !nvmehost.Is(err, nvme.ControllerBusy) {
		t.Errorf("a host connects to a drained node: %v", err)
	}
	must(t, nodes[0].Undrain(limit(t), "node2"))
	c = mustConnect(t, nodes[1], nqn, nvmehost.Options{})
	must(t, c.IO[0].Read(limit(t), nsid, 0, make([]byte, 512), 512))
}

func TestControllerNumbersOfTwoNodesDoNotMeet(t *testing.T) {
	seen := map[uint16]bool{}
	for id := wire.NodeID(1); id <= controllerRanges; id++ {
		first, last := controllerRange(id)
		for n := int(first); n <= int(last); n++ {
			if seen[uint16(n)] || n == 0 || n > 0xFFEF {
				t.Fatalf("node %d gives %d", id, n)
			}
			seen[uint16(n)] = true
		}
	}
}
