package api_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/node/cluster"
)

// network is the API of a rig over TLS.
type network struct {
	*rig
	url   string
	roots *x509.CertPool
	ca    []byte
	from  int // last source address
}

func (r *rig) overNetwork() *network {
	r.t.Helper()
	l, err := api.Listen("127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	server := api.ServeNetwork(l, r.node.ServerTLS(), r.access.Network(api.Handler(r.node, "test")))
	r.t.Cleanup(func() { server.Close() })
	return &network{rig: r, url: "https://" + l.Addr().String()}
}

// newNetwork is a cluster of one node, with tokens of all roles, two tenants, and something of each.
func newNetwork(t *testing.T) (*network, map[string]string) {
	t.Helper()
	r := newRig(t)
	ctx := t.Context()
	must := r.must
	must(r.client.CreateCluster(ctx, api.NewCluster{Name: "prod", SegmentSize: 1 << 20}))
	_, err := r.client.AddDisk(ctx, api.NewDisk{Path: filepath.Join(t.TempDir(), "disk"), Size: 64 << 20})
	must(err)
	must(r.client.CreateTenant(ctx, api.Tenant{Name: "acme", Quota: 10 << 20, Volumes: 3}))
	must(r.client.CreateTenant(ctx, api.Tenant{Name: "zeta"}))
	tokens := map[string]string{"wrong": "ashlar_wrong"}
	for _, in := range []api.NewToken{{Name: "viewer"}, {Name: "operator"}, {Name: "admin"}, {Name: "acme", Tenant: "acme"}, {Name: "zeta", Tenant: "zeta"}} {
		if in.Role = in.Name; in.Tenant != "" {
			in.Role = "tenant"
		}
		in.Seconds = 3600
		made, err := r.client.CreateToken(ctx, in)
		must(err)
		tokens[in.Name] = made.Secret
	}
	tokens["expired"] = "ashlar_old"
	sum := sha256.Sum256([]byte(tokens["expired"]))
	must(r.node.AddToken(ctx, cluster.Token{Name: "expired", Hash: sum[:], Role: cluster.Admin, Created: 1, Expires: time.Now().UnixMilli()}))
	for _, tenant := range []string{"", "acme", "zeta"} {
		_, err := r.client.CreateVolume(ctx, api.NewVolume{Name: "v" + tenant, Size: 1 << 20, Copies: 1, Tenant: tenant})
		must(err)
		must(r.client.AddHost(ctx, api.Host{Name: "h" + tenant, IQN: "iqn.2026-11.com.example:h" + tenant, Tenant: tenant}))
		must(r.client.AddExport(ctx, api.Export{Volume: "v" + tenant, Host: "h" + tenant}))
	}
	for i, tenant := range []string{"", "acme", "zeta"} { // jobOf
		j, err := r.client.StartVerify(ctx, "v"+tenant, api.VerifyOrder{})
		must(err)
		if j.ID != uint64(i+1) {
			t.Fatalf("job %d of %s", j.ID, tenant)
		}
	}
	n := r.overNetwork()
	a, err := r.client.Authority(ctx)
	must(err)
	n.ca, n.roots = []byte(a.Certificate), x509.NewCertPool()
	if !n.roots.AppendCertsFromPEM(n.ca) {
		t.Fatal("the cluster's certificate is none")
	}
	return n, tokens
}

// ask comes from an address of its own each time, so that wrong tokens do not shut out those after them.
func (n *network) ask(method, path, body, token string) (int, http.Header, []byte) {
	n.t.Helper()
	n.from++
	return n.askFrom(fmt.Sprintf("127.1.%d.%d", n.from/200, 1+n.from%200), method, path, body, token)
}

func (n *network) askFrom(from, method, path, body, token string) (int, http.Header, []byte) {
	n.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: n.roots}, DialContext: dialer.DialContext}}
	r, err := http.NewRequest(method, n.url+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := c.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := readBody(answer)
	if err != nil {
		n.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, text
}

// operation is one of the OpenAPI document.
type operation struct{ id, method, path string }

func (r *rig) operations() (all []operation) {
	r.t.Helper()
	_, _, text := r.send("GET", "/openapi.json", "")
	var document struct {
		Paths map[string]map[string]struct {
			ID string `json:"operationId"`
		}
	}
	if err := json.Unmarshal(text, &document); err != nil {
		r.t.Fatal(err)
	}
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(document.Paths[path])) {
			all = append(all, operation{document.Paths[path][method].ID, strings.ToUpper(method), path})
		}
	}
	return all
}

// jobOf are the numbers of jobs of tenants' volumes.
var jobOf = map[string]string{"acme": "2", "zeta": "3", "nobody": "99"}

// of is the operation's path about a tenant's things; what no tenant has is named the same.
func (o operation) of(tenant string) string {
	name := "v" + tenant
	if strings.HasPrefix(o.path, "/v1/hosts/") {
		name = "h" + tenant
	}
	return strings.NewReplacer("{name}", name, "{volume}", "v"+tenant, "{host}", "h"+tenant, "{id}", jobOf[tenant], "{address}", "10.0.0.1").Replace(o.path)
}

func codeOf(body []byte) string {
	var p api.Problem
	json.Unmarshal(body, &p)
	return p.Code
}

func TestEachOperationHasARight(t *testing.T) {
	served := map[string]bool{}
	for _, o := range newRig(t).operations() {
		served[o.id] = true
		if right, ok := api.Rights[o.id]; !ok || !right.Allows(cluster.Admin) {
			t.Errorf("no role may use %s: name the least one that may in api.Rights", o.id)
		}
	}
	for id := range api.Rights {
		if !served[id] {
			t.Errorf("%s is no operation", id)
		}
	}
}

// TestWhoMayDoWhat asks for every operation as everybody. Orders are of nothing that exists, and without a body that says
// enough: who may give them gets the answer that the node's own socket gives, and nothing happens.
func TestWhoMayDoWhat(t *testing.T) {
	n, tokens := newNetwork(t)
	for _, o := range n.operations() {
		nothing := strings.NewReplacer("{name}", "none", "{volume}", "none", "{host}", "none", "{id}", "none", "{address}", "10.0.0.1").Replace(o.path)
		body := ""
		if o.method != "GET" {
			body = "{}"
		}
		want, _, _ := n.send(o.method, nothing, body)
		for _, who := range []string{"", "wrong", "expired", "viewer", "operator", "admin", "acme"} {
			status, header, text := n.ask(o.method, nothing, body, tokens[who])
			code, expect := "", want
			role := cluster.Role(who)
			switch who {
			case "", "wrong":
				expect, code = 401, "unauthenticated"
			case "expired":
				expect, code = 401, "expired"
			case "acme":
				role = cluster.TenantOf
				fallthrough
			default:
				if !api.Rights[o.id].Allows(role) {
					expect, code = 403, "forbidden"
				} else if role == cluster.TenantOf && strings.Contains(o.path, "{") {
					expect, code = 404, "not-found" // before the order is looked at
				}
			}
			if status != expect || code != "" && codeOf(text) != code {
				t.Errorf("%s by %q: status %d, %s instead of %d %s", o.id, who, status, text, expect, code)
			}
			if code != "" && !strings.HasPrefix(header.Get("Content-Type"), "application/problem+json") {
				t.Errorf("%s by %q: type %s", o.id, who, header.Get("Content-Type"))
			}
			if header.Get("X-Request-Id") == "" {
				t.Errorf("%s by %q: the answer has no identity", o.id, who)
			}
			for _, secret := range tokens {
				if strings.Contains(string(text), secret) {
					t.Errorf("%s by %q tells a token: %s", o.id, who, text)
				}
			}
		}
		if !api.Rights[o.id].Tenant {
			continue
		}
		// Of another tenant's a tenant learns what it learns of what there is not.
		_, _, there := n.ask(o.method, o.of("zeta"), body, tokens["acme"])
		_, _, not := n.ask(o.method, o.of("nobody"), body, tokens["acme"])
		if got, want := string(there), strings.NewReplacer("nobody", "zeta", jobOf["nobody"], jobOf["zeta"]).Replace(string(not)); strings.Contains(o.path, "{") && (codeOf(there) != "not-found" || got != want) {
			t.Errorf("%s of another tenant's: %s; of nothing: %s", o.id, got, want)
		}
		if (strings.Contains(string(there), "hzeta") || strings.Contains(string(there), "vzeta")) && !strings.Contains(o.path, "{") {
			t.Errorf("%s tells a tenant of another: %s", o.id, there)
		}
	}
	if v, err := n.client.Volumes(t.Context()); err != nil || len(v) != 3 {
		t.Errorf("volumes are left: %+v, %v", v, err)
	}
}

func TestATenantFollowsWhatHappensToItsOwn(t *testing.T) {
	n, tokens := newNetwork(t)
	c, err := api.NewRemoteClient(n.url, n.ca, tokens["acme"])
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	var kinds []string
	err = c.WatchEvents(t.Context(), "0", func(e api.Event, err error) error {
		if err != nil || e.Tenant != "acme" || strings.Contains(e.Text, "zeta") {
			t.Errorf("%+v, %v", e, err)
		}
		kinds = append(kinds, e.Kind)
		if e.Kind == "volume-deleted" {
			return enough
		}
		if e.Kind == "job-ended" { // what there was; and now what happens
			return errors.Join(n.client.DeleteExport(t.Context(), "vzeta", "hzeta"), n.client.DeleteVolume(t.Context(), "vzeta"),
				n.client.DeleteExport(t.Context(), "vacme", "hacme"), n.client.DeleteVolume(t.Context(), "vacme"))
		}
		return nil
	})
	if want := "volume-created host-added export-added job-started job-ended export-removed volume-deleted"; !errors.Is(err, enough) || strings.Join(kinds, " ") != want {
		t.Errorf("%v, %v; want %s", kinds, err, want)
	}
}

func TestATenantWorksWithItsOwn(t *testing.T) {
	n, tokens := newNetwork(t)
	expect := func(method, path, body string, status int, code string) string {
		t.Helper()
		got, _, text := n.ask(method, path, body, tokens["acme"])
		if got != status || code != codeOf(text) {
			t.Errorf("%s %s %s: %d %s instead of %d %s", method, path, body, got, text, status, code)
		}
		for _, other := range []string{"zeta", "iqn.2026-11.com.example:h\""} {
			if strings.Contains(string(text), other) && !strings.Contains(path+body, other) {
				t.Errorf("%s %s %s tells of another's: %s", method, path, body, text)
			}
		}
		return string(text)
	}
	for path, own := range map[string]string{"/v1/volumes": `"vacme"`, "/v1/hosts": `"hacme"`, "/v1/exports": `"vacme"`, "/v1/jobs": `"vacme"`} {
		text := expect("GET", path, "", 200, "")
		if !strings.Contains(text, own) || strings.Contains(text, `"v"`) || strings.Contains(text, `"h"`) {
			t.Errorf("%s has %s", path, text)
		}
	}
	expect("GET", "/v1/volumes/vacme", "", 200, "")
	var told, rest api.Events
	if err := json.Unmarshal([]byte(expect("GET", "/v1/events?limit=2", "", 200, "")), &told); err != nil {
		t.Fatal(err)
	}
	if len(told.Events) != 2 {
		t.Errorf("a tenant's latest events are %+v", told)
	}
	first := expect("GET", "/v1/events?since=0&limit=1", "", 200, "")
	if err := json.Unmarshal([]byte(first), &rest); err != nil || len(rest.Events) != 1 || rest.Last != rest.Events[0].ID || rest.Events[0].Kind != "volume-created" {
		t.Errorf("a tenant's first event is %s, %v", first, err)
	}
	text := expect("GET", "/v1/events?since="+rest.Last, "", 200, "")
	for _, what := range []string{"host-added", "export-added", "job-started"} {
		if strings.Count(text, what) != 1 {
			t.Errorf("a tenant is told of %q not once: %s", what, text)
		}
	}
	if strings.Contains(text, "node-joined") || strings.Contains(text, `"by"`) {
		t.Errorf("a tenant is told of what is the operator's: %s", text)
	}
	if text := expect("GET", "/v1/jobs/2", "", 200, ""); strings.Contains(text, `"by"`) {
		t.Errorf("a tenant learns who the operators are: %s", text)
	}
	expect("DELETE", "/v1/jobs/2", "", 403, "forbidden")
	expect("POST", "/v1/volumes", `{"name":"new","size":4194304,"copies":1}`, 200, "")
	expect("POST", "/v1/volumes", `{"name":"other","size":4096,"copies":1,"tenant":"zeta"}`, 404, "not-found")
	expect("POST", "/v1/volumes", `{"name":"other","size":4096,"copies":1,"tenant":"nobody"}`, 404, "not-found")
	expect("POST", "/v1/volumes", `{"name":"vzeta","size":4096,"copies":1}`, 409, "exists")
	expect("POST", "/v1/volumes", `{"name":"large","size":8388608,"copies":1}`, 409, "quota")
	expect("PUT", "/v1/volumes/new/size", `{"size":16777216}`, 409, "quota")
	expect("PUT", "/v1/volumes/new/size", `{"size":8388608}`, 200, "")
	if v, err := n.client.Volume(t.Context(), "new"); err != nil || v.Tenant != "acme" {
		t.Errorf("%+v, %v", v, err)
	}
	expect("POST", "/v1/hosts", `{"name":"mine","iqn":"iqn.2026-11.com.example:hzeta"}`, 409, "exists")
	expect("POST", "/v1/hosts", `{"name":"mine","iqn":"iqn.2026-11.com.example:mine"}`, 204, "")
	expect("POST", "/v1/exports", `{"volume":"vzeta","host":"mine","read_only":false}`, 404, "not-found")
	expect("POST", "/v1/exports", `{"volume":"new","host":"hzeta","read_only":false}`, 404, "not-found")
	expect("POST", "/v1/exports", `{"volume":"new","host":"mine","read_only":false}`, 204, "")
	expect("DELETE", "/v1/exports/vzeta/hzeta", "", 404, "not-found")
	expect("DELETE", "/v1/exports/new/mine", "", 204, "")
	expect("DELETE", "/v1/hosts/mine", "", 204, "")
	expect("DELETE", "/v1/volumes/new", "", 204, "")
	expect("GET", "/metrics", "", 403, "forbidden")
}

func TestWhoGuessesTokensHasToWait(t *testing.T) {
	n, tokens := newNetwork(t)
	const guesser = "127.2.0.1"
	for range 10 {
		if status, _, text := n.askFrom(guesser, "GET", "/v1/status", "", tokens["wrong"]); status != 401 {
			t.Fatalf("%d %s", status, text)
		}
	}
	status, header, text := n.askFrom(guesser, "GET", "/v1/status", "", tokens["admin"])
	if status != 429 || codeOf(text) != "too-many-attempts" || header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", status, header, text)
	}
	if status, _, text := n.askFrom("127.2.0.2", "GET", "/v1/status", "", tokens["admin"]); status != 200 {
		t.Errorf("another address: %d %s", status, text)
	}
}

func TestANodeOfNoClusterServesNoNetwork(t *testing.T) {
	n := newRig(t).overNetwork()
	reach := func() error {
		c, err := tls.Dial("tcp", strings.TrimPrefix(n.url, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := reach(); err == nil {
		t.Error("it shakes hands before it belongs to a cluster")
	}
	if err := n.client.CreateCluster(t.Context(), api.NewCluster{Name: "prod", SegmentSize: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := reach(); err != nil {
		t.Errorf("it does not once it belongs to one: %v", err)
	}
}

func TestTheClientReachesANodeOverTheNetwork(t *testing.T) {
	n, tokens := newNetwork(t)
	c, err := api.NewRemoteClient(n.url, n.ca, tokens["admin"])
	if err != nil {
		t.Fatal(err)
	}
	if s, err := c.Cluster(t.Context()); err != nil || s.Name != "prod" {
		t.Errorf("%+v, %v", s, err)
	}
	if err := c.DeleteToken(t.Context(), "admin"); err != nil {
		t.Error(err)
	}
	if _, err := c.Cluster(t.Context()); problemCode(err) != "unauthenticated" {
		t.Errorf("with a deleted token: %v", err)
	}
	if c, err = api.NewRemoteClient(n.url, nil, tokens["viewer"]); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Cluster(t.Context()); problemCode(err) != "untrusted" {
		t.Errorf("without the cluster's certificate: %v", err)
	}
	for _, server := range []string{"http://127.0.0.1", "127.0.0.1:7443", "https://", "https://a/b", "https://u@a"} {
		if _, err := api.NewRemoteClient(server, n.ca, "x"); err == nil {
			t.Errorf("%q was taken for a node", server)
		}
	}
}

func problemCode(err error) string {
	if p, ok := err.(*api.Problem); ok {
		return p.Code
	}
	return ""
}

func TestTheRecordHasWhoOrderedWhatAndNoSecret(t *testing.T) {
	n, tokens := newNetwork(t)
	began := time.Now()
	const chap = "a-secret-of-hacme"
	n.ask("PUT", "/v1/hosts/hacme/chap", `{"secret":"`+chap+`"}`, tokens["acme"])
	n.ask("GET", "/v1/volumes", "", tokens["acme"])
	n.ask("DELETE", "/v1/volumes/v", "", tokens["viewer"])
	n.ask("DELETE", "/v1/volumes/v", "", tokens["operator"])
	n.ask("DELETE", "/v1/volumes/v", "", tokens["wrong"])
	r, err := http.NewRequest("POST", "http://node/v1/volumes", strings.NewReader(`{"name":"w","size":4096,"copies":1}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Request-Id", "ticket-17")
	answer, err := n.http.Do(r)
	if err != nil || answer.StatusCode != 200 || answer.Header.Get("X-Request-Id") != "ticket-17" {
		t.Fatalf("%+v, %v", answer, err)
	}
	answer.Body.Close()
	all, err := n.client.Audit(context.Background(), began)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range all {
		told = append(told, fmt.Sprintf("%s %s %s %s: %s", e.Who, e.Role, e.Operation, e.Object, e.Outcome))
	}
	uid := fmt.Sprintf("uid %d", os.Getuid())
	if want := []string{"acme tenant set-chap name=hacme: done", "viewer viewer delete-volume name=v: forbidden",
		"operator operator delete-volume name=v: wrong-state", uid + " admin create-volume name=w size=4096 copies=1: done"}; !slices.Equal(told, want) {
		t.Errorf("the record has\n%s\nand not\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	if all[0].From == "" || all[3].From != "" || all[3].Request != "ticket-17" || !strings.Contains(n.log.text(), "request=ticket-17") {
		t.Errorf("%+v; log:\n%s", all, n.log.text())
	}
	path := filepath.Join(n.dir, "audit.log")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(slices.Collect(maps.Values(tokens)), chap) {
		if strings.Contains(string(text)+n.log.text(), secret) {
			t.Errorf("the record, or the log, has the secret %q", secret)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// deadlines keeps until when a request is to be read.
type deadlines struct {
	*httptest.ResponseRecorder
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = t
	return nil
}

// TestAnOrderMayTakeItsTime: a deadline for reading it that is left on its connection ends it, as if who gave it had gone.
func TestAnOrderMayTakeItsTime(t *testing.T) {
	r := newRig(t)
	for _, o := range r.operations() {
		if o.method == "GET" {
			continue
		}
		w := &deadlines{ResponseRecorder: httptest.NewRecorder(), read: time.Now()}
		request := httptest.NewRequest(o.method, o.of("nobody"), strings.NewReader("{}"))
		request.Header.Set("Content-Type", "application/json")
		r.handler.ServeHTTP(w, request)
		if !w.read.IsZero() {
			t.Errorf("%s has to end within %v", o.id, time.Until(w.read))
		}
	}
}
