package house

import "testing"

func TestTheHouseKeepsItsRules(t *testing.T) {
	broken, err := Check("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range broken {
		t.Error(line)
	}
}

func TestArrow(t *testing.T) {
	for _, c := range []struct {
		file, imports string
		broken        bool
	}{
		{"target/iscsi/a.go", "ashlar/target/scsi", false},
		{"target/iscsi/a.go", "ashlar/replication/wire", true},
		{"target/iscsi/a_test.go", "ashlar/node/disk", true},
		{"replication/mirror/a.go", "ashlar/replication/wire", false},
		{"replication/wire/a.go", "ashlar/target", true},
		{"replication/sim/a.go", "ashlar/node/disk", true},
		{"node/volume/a.go", "ashlar/target", false},
		{"node/volume/a.go", "ashlar/replication/mirror", false},
		{"node/volume/a.go", "ashlar/appliance/api", true},
		{"appliance/ashlar/main.go", "ashlar/node", false},
		{"appliance/ashlar/main.go", "ashlar/node/cluster", false},
		{"appliance/api/a.go", "ashlar/replication/wire", false},
		{"appliance/api/a.go", "ashlar/replication/mirror", true},
		{"appliance/demo/a.go", "ashlar/target/targettest/initiator", false},
		{"appliance/cli/a.go", "ashlar/target/targettest/initiator", true},
		{"appliance/api/a.go", "ashlar/target", true},
		{"node/disk/a.go", "ashlar/scripts/internal/house", true},
		{"scripts/hosts/a.go", "ashlar/target/targettest/initiator", false},
		{"target/a.go", "github.com/other/ashlar/node", false},
	} {
		expect(t, c.file, "import _ \""+c.imports+"\"", c.broken)
	}
}

func TestPurity(t *testing.T) {
	for _, c := range []struct {
		source string
		broken bool
	}{
		{`import "net"`, true},
		{`import "net/http"`, true},
		{`import "net/netip"`, false},
		{`import "os"`, true},
		{`import "os/exec"`, true},
		{`import "sync"`, true},
		{`import "sync/atomic"`, true},
		{`import "syscall"`, true},
		{`import "golang.org/x/sys/unix"`, true},
		{`import "crypto/rand"`, true},
		{`import "log/slog"`, true},
		{`import "encoding/binary"`, false},
		{`import "ashlar/node/disk"`, true},
		{`import "ashlar/replication/mirror"`, false},
		{`import "time"; var d = 3 * time.Second; func f(t time.Time) time.Time { return t.Add(d) }`, false},
		{`import "time"; var t = time.Now()`, true},
		{`import clock "time"; var t = clock.Now`, true},
		{`import . "time"; var t = Now()`, true},
		{`import "time"; func f() { time.Sleep(1) }`, true},
		{`import "time"; var t *time.Timer`, true},
		{`import "math/rand/v2"; var r = rand.New(rand.NewPCG(1, 2)); var n = r.IntN(3)`, false},
		{`import "math/rand/v2"; var n = rand.IntN(3)`, true},
		{`import "math/rand"; var n = rand.Intn(3)`, true},
		{`func f() { go f() }`, true},
		{`var c chan int`, true},
		{`func f(c func() <-chan int) {}`, true},
		{`func f(c C) { c <- 1 }`, true},
		{`func f(c C) { _ = <-c }`, true},
		{`func f() { select {} }`, true},
		{`func f(n int) int { return -n + ^n }`, false},
	} {
		expect(t, "node/failover/a.go", c.source, c.broken)
	}
	for _, pkg := range Pure {
		expect(t, pkg+"/a.go", `func f() { go f() }`, true)
	}
	expect(t, "node/failover/a_test.go", `import "os"`, false)
	expect(t, "node/cluster/consensus/a.go", `import "os"`, false)
}

func expect(t *testing.T, file, source string, want bool) {
	t.Helper()
	broken, err := CheckFile(file, []byte("package p\n"+source))
	if err != nil {
		t.Fatal(err)
	}
	if (len(broken) > 0) != want {
		t.Errorf("%s with %s: broken %v, want %v", file, source, broken, want)
	}
}
