//go:build conformance

package conformance

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
	"ashlar/target/iscsi/session"
	"ashlar/target/targettest/initiator"
)

const (
	guardedIQN = "iqn.2026-11.com.example:guarded"
	mutualIQN  = "iqn.2026-11.com.example:mutual"
	strangeIQN = "iqn.2026-11.com.example:stranger"

	hostSecret    = "guarded-secret"
	mutualSecret  = "clusters-secret"
	wrongSecret   = "another-secret"
	clusterInCHAP = "lab" // the cluster's name is what it proves to be
)

// Login status (RFC 7143 11.13.5).
const (
	authenticationFailure = 0x0201
	targetNotFound        = 0x0203
)

// testAccess has hosts log in through every node that may, and that may not.
func testAccess(t *testing.T, c *clusters.Cluster) {
	a := access{c: c, mine: c.Publish("mine", "32M", 2, guardedIQN, mutualIQN)}
	c.Nodes[0].Must("volume", "create", "alien", "--size", "32M", "--copies", "2")
	a.alien = clusters.Document[api.VolumeDetail](c.Nodes[0], "volume", "show", "alien").Volume
	t.Run("DiscoveryListsAllPortalsOfAllNodes", a.testDiscovery)
	t.Run("AHostWithoutAccessSeesNothing", a.testStranger)
	t.Run("CHAP", a.testCHAP)
}

type access struct {
	c           *clusters.Cluster
	mine, alien api.Volume
}

func (a access) testDiscovery(t *testing.T) {
	// Each portal has the tag that a login through it gives.
	var portals []string
	tags := map[string]bool{}
	for _, n := range a.c.Nodes {
		for _, p := range n.Portals() {
			s, err := initiator.Dial(t.Context(), p, a.mine.IQN, initiator.Options{Name: clusters.HostIQN})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			portals = append(portals, p+","+s.Params.PortalGroup)
			tags[n.Name+" "+s.Params.PortalGroup] = true
		}
	}
	slices.Sort(portals)
	if len(portals) != 6 || len(tags) != 3 {
		t.Fatalf("%d portals, portal groups: %v", len(portals), tags)
	}
	var lines []string
	for _, address := range portals {
		lines = append(lines, "Target:"+a.mine.IQN+" Portal:"+address)
	}
	for _, n := range a.c.Nodes {
		for _, p := range n.Portals() {
			found, err := initiator.Discover(t.Context(), p, initiator.Options{Name: clusters.HostIQN})
			if err != nil || len(found) != 1 || found[0].Name != a.mine.IQN || !slices.Equal(slices.Sorted(slices.Values(found[0].Addresses)), portals) {
				t.Errorf("%s: %+v, %v, want %v", p, found, err, portals)
			}
			out, err := libiscsi(t, "iscsi-ls", clusters.HostIQN, "iscsi://"+p)
			if got := slices.Sorted(strings.Lines(out)); err != nil || strings.Join(got, "") != strings.Join(lines, "\n")+"\n" {
				t.Errorf("iscsi-ls at %s: %v\n%s\nwant %q", p, err, out, lines)
			}
		}
	}
}

// A host that nothing is published to, known or not, is told nothing: a target that
// it may not use is like one that is not there.
func (a access) testStranger(t *testing.T) {
	a.c.Nodes[0].Must("host", "add", "known", strangeIQN)
	absent := strings.Replace(a.mine.IQN, "mine", "nothing", 1)
	for _, n := range a.c.Nodes {
		portal := n.Portals()[0]
		for _, name := range []string{strangeIQN, strangeIQN + "-never-heard-of"} {
			if found, err := initiator.Discover(t.Context(), portal, initiator.Options{Name: name}); err != nil || len(found) != 0 {
				t.Errorf("%s at %s: %v, %v", name, portal, found, err)
			}
			if out, err := libiscsi(t, "iscsi-ls", name, "iscsi://"+portal); err != nil || out != "" {
				t.Errorf("iscsi-ls as %s at %s: %v\n%s", name, portal, err, out)
			}
			for _, target := range []string{a.mine.IQN, a.alien.IQN, absent} {
				a.refused(t, portal, target, initiator.Options{Name: name}, targetNotFound)
			}
			if out, err := libiscsi(t, "iscsi-inq", name, "iscsi://"+portal+"/"+a.mine.IQN+"/0"); err == nil {
				t.Errorf("iscsi-inq as %s at %s: \n%s", name, portal, out)
			}
		}
		a.refused(t, portal, a.alien.IQN, initiator.Options{Name: clusters.HostIQN}, targetNotFound)
	}
}

func (a access) refused(t *testing.T, portal, target string, o initiator.Options, status uint16) {
	t.Helper()
	s, err := initiator.Dial(t.Context(), portal, target, o)
	if err == nil {
		s.Close()
	}
	var refusal *initiator.LoginError
	if !errors.As(err, &refusal) || refusal.Status != status {
		t.Errorf("%s to %s at %s: %v, want status %04x", o.Name, target, portal, err, status)
	}
}

func (a access) testCHAP(t *testing.T) {
	secret := func(text string) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	guarded, mutual := a.c.Host(guardedIQN), a.c.Host(mutualIQN)
	a.c.Nodes[0].Must("host", "chap", guarded, "--secret-file", secret(hostSecret))
	a.c.Nodes[0].Must("host", "chap", mutual, "--secret-file", secret(hostSecret+"-2"), "--mutual-secret-file", secret(mutualSecret))
	for _, n := range a.c.Nodes {
		a.c.Eventually(10*time.Second, n.Name+" asks for the secret", func() bool {
			s, err := initiator.Dial(t.Context(), n.Portals()[0], a.mine.IQN, initiator.Options{Name: mutualIQN})
			if err == nil {
				s.Close()
			}
			return err != nil
		})
		a.testTools(t, n.Portals()[0], guarded, mutual)
	}
	if newer := newerTool(); newer != nil {
		unit := a.c.Nodes[0].Portals()[0] + "/" + a.mine.IQN + "/0"
		newer.run(t, writable512, []string{guardedIQN, guardedIQN}, "ALL.iSCSICHAP", "iscsi://"+guarded+"%"+hostSecret+"@"+unit)
	}
	// The other initiator knows the stronger algorithms too.
	portal := a.c.Nodes[2].Portals()[0]
	for _, algorithm := range session.Algorithms {
		chap := initiator.CHAP{User: mutual, Secret: []byte(hostSecret + "-2"), MutualUser: clusterInCHAP, MutualSecret: []byte(mutualSecret),
			Algorithms: []session.Algorithm{algorithm}, Base64: algorithm == session.SHA256}
		s, err := initiator.Dial(t.Context(), portal, a.mine.IQN, initiator.Options{Name: mutualIQN, CHAP: &chap})
		if err != nil {
			t.Errorf("algorithm %d: %v", algorithm, err)
			continue
		}
		s.Close()
	}
	a.refused(t, portal, a.mine.IQN, initiator.Options{Name: guardedIQN}, authenticationFailure)
	a.refused(t, portal, "", initiator.Options{Name: guardedIQN}, authenticationFailure)
}

// testTools logs in with libiscsi's tools, which know MD5, for discovery and for a
// unit, in one direction and in both.
func (a access) testTools(t *testing.T, portal, guarded, mutual string) {
	unit := portal + "/" + a.mine.IQN + "/0"
	both := func(secret, theirs string) string {
		return mutual + "%" + secret + "@" + unit + "?target_user=" + clusterInCHAP + "&target_password=" + theirs
	}
	for _, c := range []struct {
		tool, iqn, url, says string
		ok                   bool
	}{
		{"iscsi-inq", guardedIQN, guarded + "%" + hostSecret + "@" + unit, "DIRECT_ACCESS", true},
		{"iscsi-inq", guardedIQN, guardedIQN + "%" + hostSecret + "@" + unit, "DIRECT_ACCESS", true},
		{"iscsi-inq", guardedIQN, guarded + "%" + wrongSecret + "@" + unit, "Authentication", false},
		{"iscsi-inq", guardedIQN, mutual + "%" + hostSecret + "@" + unit, "Authentication", false},
		{"iscsi-inq", guardedIQN, unit, "Authentication", false},
		{"iscsi-ls", guardedIQN, guarded + "%" + hostSecret + "@" + portal, a.mine.IQN, true},
		{"iscsi-ls", guardedIQN, guarded + "%" + wrongSecret + "@" + portal, "Authentication", false},
		{"iscsi-ls", guardedIQN, portal, "Authentication", false},
		{"iscsi-inq", mutualIQN, both(hostSecret+"-2", mutualSecret), "DIRECT_ACCESS", true},
		{"iscsi-inq", mutualIQN, both(hostSecret+"-2", wrongSecret), "", false},
		{"iscsi-inq", mutualIQN, both(wrongSecret, mutualSecret), "Authentication", false},
	} {
		out, err := libiscsi(t, c.tool, c.iqn, "iscsi://"+c.url)
		if (err == nil) != c.ok || !strings.Contains(out, c.says) {
			t.Errorf("%s as %s %s: %v\n%s", c.tool, c.iqn, c.url, err, out)
		}
	}
}

// libiscsi runs one of libiscsi's tools as a host, and returns all that it printed.
func libiscsi(t *testing.T, tool, iqn, url string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool, "--initiator-name", iqn, url).CombinedOutput()
	return string(out), err
}
