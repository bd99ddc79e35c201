package cli

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"

	"ashlar/appliance/api"
)

const hostIQN = "iqn.1993-08.org.debian:01:abcdef"

func TestWithoutADaemonThereIsOneSentence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	isRefused(t, "status", command("", "status", "--dir", dir), "no node serves at", "ashlar serve")
	isRefused(t, "volume list", command("", "volume", "list", "--dir", "/"+strings.Repeat("x", 200)), "too long")
	r := command("", "volume", "list", "--dir", dir, "-o", "json")
	if !strings.Contains(r.stderr, `"code":"no-daemon"`) || r.code != failed {
		t.Errorf("for machines: status %d, %q", r.code, r.stderr)
	}
}

func TestANodeAloneRefusesWhatNeedsACluster(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, 1)
	if s := document[api.Status](d, "status"); s.State != "alone" || s.Name != "node1" || s.Cluster != "" {
		t.Errorf("status: %+v", s)
	}
	for _, order := range []string{"cluster status", "cluster secret", "node list", "disk list", "volume list", "host list", "export list",
		"volume create v --size 1G", "volume delete v", "volume verify v", "volume resize v 2G", "volume move-head v n",
		"pool status", "node drain n", "node undrain n", "host add h " + hostIQN, "export add v h", "disk add /nowhere"} {
		d.refuses(order, "belongs to no cluster", "ashlar cluster create")
	}
}

// One cluster, one node: all that can go wrong with orders that it takes.
func TestOrdersThatCannotBeCarriedOutChangeNothing(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, 1)
	d.refuses("cluster create Bad_Name", `"Bad_Name" is no cluster name`)
	d.refuses("cluster create prod --segment-size 3M", "power of two")
	d.must("cluster", "create", "prod", "--segment-size", "4M")
	d.refuses("cluster create prod", `already in a cluster named "prod"`)
	d.refuses("cluster create other", `already in cluster "prod"`)

	d.must("disk", "add", d.path("a"), "--size", "64M")
	d.must("volume", "create", "db", "--size", "8M", "--copies", "1")
	d.must("host", "add", "web1", hostIQN)
	d.must("export", "add", "db", "web1", "--read-only")
	before := d.must("cluster", "status", "-o", "json")

	d.refuses("volume create db --size 8M --copies 1", `"db" is there already`)
	d.refuses("volume create v2 --size 8M --copies 2", "2 copies need 2 nodes", "there are 1")
	d.refuses("volume create v2 --size 8M --copies 4", "1, 2 or 3 copies")
	d.refuses("volume create v2 --size 5000 --copies 1", "multiple of 4096")
	d.refuses("volume create V2 --size 8M --copies 1", "no volume name")
	d.refuses("volume show dbb", `no volume "dbb"`, `did you mean "db"?`)
	d.refuses("volume delete xyzzy", `no volume "xyzzy"`, "ashlar volume list")
	d.refuses("volume delete db", `published to host "web1"`, "ashlar export delete db web1")
	d.refuses("node show nod1", `did you mean "node1"?`)
	d.refuses("host add web1 "+hostIQN, "is there already")
	d.refuses("host add web2 "+hostIQN, "is there already")
	d.refuses("host add web2 10.0.0.7", `"10.0.0.7" is no initiator name`)
	d.refuses("host delete web1", `published to host "web1"`)
	d.refuses("host delete web", `did you mean "web1"?`)
	d.refuses("export add db web1", "already published")
	d.refuses("export add db web2", `no host "web2"`, `did you mean "web1"?`)
	d.refuses("volume create v3 --size 8M --copies 1 --lun 5", `no flag "--lun"`)
	d.refuses("volume move-head db node2", `did you mean "node1"?`)
	d.refuses("volume resize db 4M", "cannot be made smaller")
	d.refuses("node drain node1", "the only one")
	d.refuses("cluster set rebuild-after-nod 2m", "no setting", "rebuild-after-node")
	d.refuses("cluster set rebuild-after-node 0s", "from 1s to 168h")
	d.refuses("export delete dbb web1", `did you mean "db"?`)

	if after := d.must("cluster", "status", "-o", "json"); after != before {
		t.Errorf("the cluster changed:\n%s\n%s", before, after)
	}
	d.must("export", "delete", "db", "web1")
	d.must("host", "delete", "web1")
	d.must("volume", "delete", "db")
	if c := document[api.Cluster](d, "cluster", "status"); len(c.Volumes) != 0 {
		t.Errorf("after all was taken back: %+v", c)
	}
}

func TestWhatIsNoDiskIsLeftAlone(t *testing.T) {
	t.Parallel()
	d, other := newDaemon(t, 1), newDaemon(t, 2)
	d.must("cluster", "create", "prod")
	other.must("cluster", "create", "other")
	other.must("disk", "add", other.path("foreign"), "--size", "64M")
	other.end(syscall.SIGTERM)
	write := func(name string, size int, text string) string {
		if err := os.WriteFile(d.path(name), append(make([]byte, size), text...), 0o600); err != nil {
			t.Fatal(err)
		}
		return d.path(name)
	}
	file := write("data", 100<<20, "the end of somebody's file")
	want, _ := os.ReadFile(file)
	d.refuses("disk add "+file, "holds data that is not Ashlar's", "--force")
	d.refuses("disk add "+write("small", 0, "hello"), "holds data")
	d.refuses("disk add "+write("tiny", 4096, ""), "too small")
	d.refuses("disk add "+d.path("nothing"), "there is no", "--size")
	d.refuses("disk add "+d.path("nofolder/x")+" --size 64M", "no such file or directory")
	d.refuses("disk add "+d.path("huge")+" --size 1000T", "no room")
	d.refuses("disk add "+d.dir, "neither a block device nor a file")
	d.refuses("disk add /dev/null", "neither a block device nor a file")
	d.refuses("disk add "+file+" --size 64M", "is there already")
	d.refuses("disk add "+other.path("foreign"), "disk of another cluster", "--force")
	if got, _ := os.ReadFile(file); !bytes.Equal(got, want) {
		t.Error("a file that was refused has changed")
	}
	if disks := document[[]api.Disk](d, "disk", "list"); len(disks) != 0 {
		t.Errorf("disks: %+v", disks)
	}
	for _, name := range []string{"nothing", "huge"} {
		if _, err := os.Stat(d.path(name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
	d.must("disk", "add", file, "--force")
	d.refuses("disk add "+file, "already in the pool")
	d.refuses("disk add "+file+" --force", "already in the pool")
	d.must("disk", "add", other.path("foreign"), "--force")
}

func TestJoiningNeedsTheRightSecret(t *testing.T) {
	t.Parallel()
	first, second, stranger := newDaemon(t, 1), newDaemon(t, 2), newDaemon(t, 3)
	first.must("cluster", "create", "prod")
	stranger.must("cluster", "create", "other")
	secret := strings.TrimSpace(first.must("cluster", "secret"))
	foreign := strings.TrimSpace(stranger.must("cluster", "secret"))
	join := func(d *daemon, address, secret string) result {
		return command(secret+"\n", "cluster", "join", address, "--secret-file", "-", "--dir", d.dir)
	}
	// The right fingerprint with another secret: what a guesser would try.
	_, fingerprint, _ := strings.Cut(secret, ".")
	guess := strings.Repeat("a", 26) + "." + fingerprint

	isRefused(t, "join", join(second, first.peer, "swordfish"), "no join secret", "ashlar cluster secret")
	isRefused(t, "join", join(second, first.peer, foreign), "another cluster than this secret")
	isRefused(t, "join", join(second, first.peer, guess), `"prod" does not know this join secret`)
	isRefused(t, "join", join(second, second.peer, secret), "no node answers at "+second.peer)
	isRefused(t, "join", join(stranger, first.peer, secret), `already in cluster "other"`)
	isRefused(t, "join", command("", "cluster", "join", first.peer, "--secret-file", "/nowhere", "--dir", second.dir), "/nowhere")
	if s := document[api.Status](second, "status"); s.State != "alone" {
		t.Errorf("after wrong secrets: %+v", s)
	}
	if nodes := document[[]api.Node](first, "node", "list"); len(nodes) != 1 {
		t.Errorf("the cluster admitted %+v", nodes)
	}

	if r := join(second, first.peer, secret); r.code != 0 {
		t.Fatalf("the right secret: %s", r.stderr)
	}
	if again := strings.TrimSpace(second.must("cluster", "secret")); again != secret {
		t.Errorf("the new node tells the secret %q", again)
	}
	if nodes := document[[]api.Node](second, "node", "list"); len(nodes) != 2 || nodes[1].State != "up" {
		t.Errorf("nodes: %+v", nodes)
	}
}

func TestANodeThatWasKilledIsBackAsANewIncarnation(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, 1)
	d.must("cluster", "create", "prod", "--segment-size", "4M")
	d.must("disk", "add", d.path("a"), "--size", "64M")
	d.must("volume", "create", "db", "--size", "8M", "--copies", "1")
	d.end(syscall.SIGKILL)
	d.start()
	d.eventually("registers", func() bool { return document[api.Status](d, "status").Incarnation == 2 })
	var v api.VolumeDetail
	d.eventually("opens its disk", func() bool {
		v = document[api.VolumeDetail](d, "volume", "show", "db")
		return v.State == "healthy"
	})
	if v.Head != "node1" || v.Epoch != 2 {
		t.Errorf("the volume after the restart: %+v", v)
	}
	if disks := document[[]api.Disk](d, "disk", "list"); len(disks) != 1 || disks[0].State != "ok" {
		t.Errorf("disks: %+v", disks)
	}
}

func TestASecondProcessOnAFolderIsRefused(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, 1)
	isRefused(t, "serve", command("", d.args...), "another process serves the folder")
}

func TestAPortThatIsTakenStopsAClusterBeforeItBegins(t *testing.T) {
	t.Parallel()
	first, second := newDaemon(t, 1), newDaemon(t, 1)
	first.must("cluster", "create", "prod")
	second.end(syscall.SIGTERM)
	second.args = append(second.args, "--portal", first.peer)
	second.start()
	second.refuses("cluster create late", "another process listens at "+first.peer)
	if s := document[api.Status](second, "status"); s.State != "alone" {
		t.Errorf("status: %+v", s)
	}
}

func TestAFolderOfALaterReleaseIsRefused(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, 1)
	d.must("cluster", "create", "prod")
	d.end(syscall.SIGTERM)
	text, err := os.ReadFile(d.path("node.json"))
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`"version": 1`), []byte(`"version": 99`), 1)
	if err := os.WriteFile(d.path("node.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	isRefused(t, "serve", command("", d.args...), "later release", "version 99")
}

func TestOnlyItsOwnerMayOpenANodesFolder(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, 1)
	d.must("cluster", "create", "prod")
	for _, name := range []string{"api.sock", "node.json", "secret", "identity/private.key", "lock"} {
		info, err := os.Stat(d.path(name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
