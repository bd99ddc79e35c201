//go:build lab

package hosts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ashlar/scripts/internal/guest"
)

// A newer kernel than Debian's stable one proves who it is, with each hash and both ways,
// again when it is told to, and anew on each path that it lost.
func TestNewKernelProvesWhoItIsOverNVMe(t *testing.T) {
	o := startNVMe(t, moving, 2)
	o.expectPaths()
	if version := o.must("uname -r"); strings.HasPrefix(version, "6.1.") {
		t.Fatalf("kernel %s cannot prove who it is: %s=%s", version, guest.KernelVariable, guest.Backports)
	}
	o.must("nvme disconnect-all")
	n, folder := o.c.Nodes[1], t.TempDir()
	at := movingAddress("b", 3)
	key := func(hash int) (key, file string) {
		key = strings.TrimSpace(o.must(fmt.Sprintf("nvme gen-dhchap-key -m %d -n %s", hash, guestNQN)))
		file = filepath.Join(folder, fmt.Sprint(hash))
		if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return key, file
	}
	wrong, _ := key(1)
	for hash := range 4 { // 0: the key is used as it is
		secret, file := key(hash)
		n.Must("host", "dhchap", "linux", "--secret-file", file)
		for _, proof := range []string{"", "--dhchap-secret=" + wrong} {
			if out, code := o.try("nvme connect -t tcp -a " + at + " -s 4420 -n " + o.v.NQN + " " + proof); code == 0 {
				t.Errorf("hash %d: a host connects with %q: %s", hash, proof, out)
			}
		}
		o.connect(at, o.v.NQN, "--dhchap-secret="+secret)
		o.expectPaths()
		o.must("nvme disconnect-all")
	}

	secret, file := key(2)
	ours, oursFile := key(3)
	n.Must("host", "dhchap", "linux", "--secret-file", file, "--controller-secret-file", oursFile)
	if out, code := o.try("nvme connect -t tcp -a " + at + " -s 4420 -n " + o.v.NQN + " --dhchap-secret=" + secret + " --dhchap-ctrl-secret=" + wrong); code == 0 {
		t.Errorf("a host takes a controller with another secret for its own: %s", out)
	}
	for a := range o.holders() { // connect-all of nvme-cli 2.3 knows no secret of the controller
		o.must(fmt.Sprintf("nvme connect -t tcp -a %s -s 4420 -n %s --hdr-digest --data-digest --keep-alive-tmo=%d --reconnect-delay=1 --ctrl-loss-tmo=600 --dhchap-secret=%s --dhchap-ctrl-secret=%s",
			a, o.v.NQN, keepAlive/time.Second, secret, ours))
	}
	o.expectPaths()
	o.disk = strings.TrimSpace(o.must("ls /dev/nvme*n*"))
	o.must(fmt.Sprintf(`
		dmesg -c >/dev/null
		for c in /sys/class/nvme/nvme*/dhchap_secret; do echo '%s' >$c; done
		sleep 2
		dmesg | tee /tmp/again
		[ $(grep -c 're-authenticating controller' /tmp/again) -ge %d ]
		! grep -qi 'authentication failed\|auth.*error' /tmp/again`, secret, paths))
	o.startFio()
	o.fails(0, failuresNVMe[0])
	o.finish(nvmePauseMax)
}
