package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"ashlar/appliance/api"
	"ashlar/appliance/audit"
)

func TestOrdersAreGivenOverTheNetworkWithATokenFromAFile(t *testing.T) {
	d := newDaemon(t, 1)
	d.must("cluster", "create", "prod", "--segment-size", "1M")
	d.must("disk", "add", d.path("disk"), "--size", "64M")
	ca, token := d.path("ca.pem"), d.path("token")
	if err := os.WriteFile(ca, []byte(d.must("cluster", "ca")), 0o644); err != nil {
		t.Fatal(err)
	}
	d.must("tenant", "create", "acme", "--quota", "8M", "--volumes", "2")
	d.must("token", "create", "ci", "--role", "operator", "--expires", "720h", "--secret-file", token)
	if info, err := os.Stat(token); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	secret, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	remote := func(stdin string, args ...string) result {
		return command(stdin, append(args, "--server", d.api, "--ca-file", ca)...)
	}
	r := remote("", "volume", "create", "db", "--size", "1M", "--copies", "1", "--token-file", token)
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%+v", r)
	}
	if r = remote(string(secret), "volume", "list", "-o", "json", "--token-file", "-"); r.code != 0 || !strings.Contains(r.stdout, `"db"`) {
		t.Errorf("with a token from stdin: %+v", r)
	}
	isRefused(t, "disk add", remote("", "disk", "add", "/nowhere", "--token-file", token), "operator")
	isRefused(t, "token list", remote("", "token", "list", "--token-file", token), "operator", "--role admin")
	isRefused(t, "volume list", remote("", "volume", "list"), "--token-file")
	isRefused(t, "volume list", remote("ashlar_wrong\n", "volume", "list", "--token-file", "-"), "does not know this token")
	isRefused(t, "volume list", command("", "volume", "list", "--server", d.api, "--token-file", token), "--ca-file")
	isRefused(t, "volume list", command("", "volume", "list", "--server", "http://node", "--token-file", token), "https://")

	// The socket needs no token, and --dir goes before the environment.
	t.Setenv("ASHLAR_SERVER", d.api)
	t.Setenv("ASHLAR_CA_FILE", ca)
	t.Setenv("ASHLAR_TOKEN_FILE", token)
	tokens := document[[]api.Token](d, "token", "list")
	if len(tokens) != 1 || tokens[0].Name != "ci" || tokens[0].Role != "operator" || tokens[0].Expires == nil {
		t.Errorf("%+v", tokens)
	}
	for _, line := range []string{"ashlar volume delete ", "ashlar volume delete --server " + d.api + " --ca-file=" + ca + " --token-file " + token + " "} {
		var names bytes.Buffer
		if code := complete(t.Context(), newApp("test", nil), []string{"bash", line}, &names); code != 0 || names.String() != "db\n" {
			t.Errorf("%q goes on with %q", line, names.String())
		}
	}
	if r := command("", "volume", "delete", "db"); r.code != 0 {
		t.Errorf("with $ASHLAR_SERVER: %+v", r)
	}
	orders := document[[]audit.Entry](d, "audit", "--since", "1h")
	if !slices.ContainsFunc(orders, func(e audit.Entry) bool {
		return e.Who == "ci" && e.Operation == "delete-volume" && e.Object == "name=db" && e.Outcome == "done"
	}) {
		t.Errorf("%+v", orders)
	}
	acme := d.must("token", "create", "acme", "--role", "tenant", "--tenant", "acme")
	if r := command(acme, "volume", "create", "mine", "--size", "4M", "--copies", "1", "--token-file", "-"); r.code != 0 {
		t.Errorf("a tenant's volume: %+v", r)
	}
	isRefused(t, "volume create", command(acme, "volume", "create", "more", "--size", "8M", "--copies", "1", "--token-file", "-"), "4194304 of its 8388608 bytes")
	isRefused(t, "cluster status", command(acme, "cluster", "status", "--token-file", "-"), "may not do this")
	if tenants := document[[]api.Tenant](d, "tenant", "list"); len(tenants) != 1 || tenants[0].HasBytes != 4<<20 || tenants[0].HasVolumes != 1 || tenants[0].Quota != 8<<20 {
		t.Errorf("%+v", tenants)
	}
	d.refuses("tenant delete acme", "owns 1 volumes")
	d.must("tenant", "set", "acme", "--quota", "0")
	d.must("token", "delete", "ci")
	isRefused(t, "volume list", command("", "volume", "list"), "does not know this token")
	for _, s := range []string{strings.TrimSpace(string(secret)), strings.TrimSpace(acme)} {
		if strings.Contains(d.log.String(), s) {
			t.Errorf("the daemon's log has the secret %q", s)
		}
		if r := command("", "token", "list", "--dir", d.dir, "-o", "json"); strings.Contains(r.stdout, s) {
			t.Error("a secret is shown again")
		}
	}
	var status api.Status
	client := http.Client{Transport: &http.Transport{}}
	if answer, err := client.Get("http" + strings.TrimPrefix(d.api, "https") + "/v1/status"); err == nil && json.NewDecoder(answer.Body).Decode(&status) == nil {
		t.Errorf("without TLS it answers %+v", status)
	}
}

func TestAPortOfTheAPIThatIsTakenStopsANodeBeforeItBegins(t *testing.T) {
	d := newDaemon(t, 1)
	port := d.api[strings.LastIndex(d.api, ":")+1:]
	r := command("", "serve", "--dir", t.TempDir(), "--address", "127.0.0.1", "--api-port", port)
	isRefused(t, "serve", r, "--api-port", port)
}
