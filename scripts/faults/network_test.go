//go:build faults

package faults

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/scripts/internal/fabric"
)

// TestTheNetworksCheckFindsWhatIsWrong: a switch port that takes short packets only, an address that a stranger uses, too, and
// a fabric that is cut, each seen by the nodes that it concerns and by no other.
func TestTheNetworksCheckFindsWhatIsWrong(t *testing.T) {
	const first = 4
	onFabric(t, first)
	inside := func(k int, name string, args ...string) *exec.Cmd { return fabric.Command(first-1+k, name, args...) }
	c := clusters.New(t, clusters.Plan{Inside: inside, Addresses: func(k int) []string {
		return []string{fmt.Sprintf("10.1.0.%d", first-1+k), fmt.Sprintf("10.2.0.%d", first-1+k)}
	}})
	run := func(k int, words string) {
		t.Helper()
		args := strings.Fields(words)
		if out, err := inside(k, args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", words, err, out)
		}
	}
	// What a busy machine does not answer in time is found, too, so that a check is repeated.
	expect := func(want ...string) {
		t.Helper()
		slices.Sort(want)
		var got []string
		for deadline := time.Now().Add(20 * time.Second); ; {
			got = nil
			for _, f := range checked(t, c.Nodes[1]) {
				got = append(got, f.Kind+": "+f.Text)
			}
			if slices.Sort(got); slices.Equal(got, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	expect()

	run(1, "ip link set dev a mtu 1400") // it sends short ones, and takes no longer ones
	expect(
		"mtu: Node n2 sends packets of up to 1500 bytes to n1's address 10.1.0.4 over a, and none of more than 1280 arrives.",
		"mtu: Node n3 sends packets of up to 1500 bytes to n1's address 10.1.0.4 over a, and none of more than 1280 arrives.")
	run(1, "ip link set dev a mtu 1500")

	run(3, "ip address add 10.2.0.5/32 dev b")
	c.Eventually(20*time.Second, "the stranger with n2's address is found", func() bool {
		return slices.ContainsFunc(checked(t, c.Nodes[0]), func(f api.NetworkFinding) bool {
			return f.Kind == "duplicate" && f.Node == "n2" && strings.Contains(f.Text, "10.2.0.5")
		})
	})
	run(3, "ip address delete 10.2.0.5/32 dev b")
	expect()

	port := []string{fmt.Sprint("n", first+2)}
	if err := fabric.Cut(port, []string{"b"}); err != nil {
		t.Fatal(err)
	}
	expect(
		"unreachable: Node n1 cannot connect to n3's address 10.2.0.6 over b.",
		"unreachable: Node n2 cannot connect to n3's address 10.2.0.6 over b.",
		"unreachable: Node n3 cannot connect to n1's address 10.2.0.4 over b.",
		"unreachable: Node n3 cannot connect to n2's address 10.2.0.5 over b.")
	if err := fabric.Heal(port, []string{"b"}); err != nil {
		t.Fatal(err)
	}
}

// checked is what a check through a node finds; its status tells whether that is anything.
func checked(t *testing.T, n *clusters.Node) (found []api.NetworkFinding) {
	t.Helper()
	r := n.Run("cluster", "check", "-o", "json")
	if err := json.Unmarshal([]byte(r.Stdout), &found); err != nil || r.Code != min(1, len(found)) {
		t.Fatalf("status %d, %v: %s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	return found
}
