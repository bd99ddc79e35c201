package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ashlar/appliance/api"
	"ashlar/node"
	"ashlar/node/freeport"
)

// rig is a node of its own with the API on its socket.
type rig struct {
	t       *testing.T
	client  *api.Client
	http    *http.Client
	node    *node.Node
	handler http.Handler
	access  *api.Access
	dir     string
	log     *safeBuffer
}

// safeBuffer is what a node says.
type safeBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *safeBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "ashlar") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ip := netip.MustParseAddr("127.0.0.1")
	ports, err := freeport.Take([]string{"127.0.0.1"}, 3)
	if err != nil {
		t.Fatal(err)
	}
	said := &safeBuffer{}
	n, err := node.Open(node.Config{Dir: dir, Name: "node1", Log: slog.New(slog.NewTextHandler(said, nil)), Addresses: []netip.Addr{ip}, PeerPort: ports[0], GossipPort: ports[1], ISCSIPort: ports[2]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	socket := filepath.Join(dir, "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	access, err := api.NewAccess(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { access.Close() })
	handler := held(t, access.Local(api.Handler(n, "test")))
	server := &http.Server{Handler: handler, ConnContext: api.User}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return &rig{t, api.NewClient(socket), &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}, n, handler, access, dir, said}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// readBody reads an answer, but for a stream, which has no end.
func readBody(answer *http.Response) ([]byte, error) {
	if answer.Header.Get("Content-Type") == "text/event-stream" {
		return nil, nil
	}
	return io.ReadAll(answer.Body)
}

// send gives a request as it is and returns the status, the type and the body.
func (r *rig) send(method, path, body string) (int, string, []byte) {
	r.t.Helper()
	request, err := http.NewRequest(method, "http://node"+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := r.http.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := readBody(answer)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("Content-Type"), text
}

func TestEveryProblemIsADocumentWithACode(t *testing.T) {
	r := newRig(t)
	create := `{"name":"prod"}`
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"GET", "/v1/volumes", "", 409, "no-cluster"},
		{"GET", "/v1/volume", "", 404, "not-found"},
		{"PATCH", "/v1/volumes", "", 404, "not-found"},
		{"POST", "/v1/cluster", `{"name":"No Name"}`, 422, "invalid"},
		{"POST", "/v1/cluster", `{"name":7}`, 422, "invalid"},
		{"POST", "/v1/cluster", `{"nam":"prod"}`, 422, "invalid"},
		{"POST", "/v1/cluster", `{"name":`, 400, "invalid"},
		{"POST", "/v1/cluster/join", `{"address":"127.0.0.1:1","secret":"x"}`, 403, "wrong-secret"},
		{"POST", "/v1/cluster", create, 204, ""},
		{"POST", "/v1/cluster", create, 409, "exists"},
		{"POST", "/v1/cluster", `{"name":"other"}`, 409, "in-cluster"},
		{"GET", "/v1/volumes/none", "", 404, "not-found"},
		{"GET", "/v1/volumes/" + strings.Repeat("x", 65), "", 422, "invalid"},
		{"DELETE", "/v1/hosts/none", "", 404, "not-found"},
		{"POST", "/v1/volumes", `{"name":"v","size":8388608}`, 409, "too-few-domains"},
		{"POST", "/v1/volumes", `{"name":"v","size":-1}`, 422, "invalid"},
		{"POST", "/v1/volumes", `{"name":"` + strings.Repeat("x", 100<<10) + `","size":1}`, 413, "invalid"},
		{"POST", "/v1/disks", `{"path":"relative"}`, 422, "invalid"},
		{"POST", "/v1/disks", `{"path":"/nowhere/disk"}`, 404, "not-found"},
		{"POST", "/v1/hosts", `{"name":"h","iqn":"foo"}`, 422, "invalid"},
		{"POST", "/v1/exports", `{"volume":"v","host":"h","read_only":false}`, 404, "not-found"},
	} {
		status, kind, body := r.send(c.method, c.path, c.body)
		if status != c.status {
			t.Errorf("%s %s %.60s: status %d instead of %d: %s", c.method, c.path, c.body, status, c.status, body)
			continue
		}
		if c.code == "" {
			continue
		}
		var p api.Problem
		if err := json.Unmarshal(body, &p); err != nil || kind != "application/problem+json" {
			t.Errorf("%s %s: %s: %s, %v", c.method, c.path, kind, body, err)
		}
		if p.Code != c.code || p.Detail == "" || p.Title == "" || p.Status != status {
			t.Errorf("%s %s %.60s: %+v instead of code %s", c.method, c.path, c.body, p, c.code)
		}
	}
}

func TestTheClientSpeaksAllOfTheAPI(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	must := r.must
	must(r.client.CreateCluster(ctx, api.NewCluster{Name: "prod", SegmentSize: 4 << 20}))
	path := filepath.Join(t.TempDir(), "disk")
	d, err := r.client.AddDisk(ctx, api.NewDisk{Path: path, Size: 64 << 20})
	must(err)
	if d.Node != "node1" || d.Path != path || d.Size != 64<<20 || d.State != "ok" {
		t.Errorf("disk: %+v", d)
	}
	v, err := r.client.CreateVolume(ctx, api.NewVolume{Name: "db", Size: 10 << 20, Copies: 1})
	must(err)
	if v.Segments != 3 || v.Head != "node1" || v.State != "healthy" || v.IQN != "iqn.2026-11.io.ashlar:prod.db" {
		t.Errorf("volume: %+v", v)
	}
	must(r.client.AddHost(ctx, api.Host{Name: "web", IQN: "iqn.2026-11.com.example:web"}))
	must(r.client.AddExport(ctx, api.Export{Volume: "db", Host: "web", ReadOnly: true}))
	exports, err := r.client.Exports(ctx)
	must(err)
	if len(exports) != 1 || exports[0] != (api.Export{Volume: "db", Host: "web", ReadOnly: true, IQN: v.IQN, NQN: v.NQN, NSID: v.NSID}) {
		t.Errorf("exports: %+v", exports)
	}
	must(r.client.DeleteExport(ctx, "db", "web"))
	lun := uint16(3)
	must(r.client.AddExport(ctx, api.Export{Volume: "db", Host: "web", LUN: &lun}))
	exports, err = r.client.Exports(ctx)
	must(err)
	if e := exports[0]; e.NQN != "nqn.2026-11.io.ashlar:prod" || e.NSID != 1 {
		t.Errorf("exports: %+v", exports)
	}
	const nqn = "nqn.2014-08.org.nvmexpress:uuid:0cd8ea3f-8b26-4b5c-8c4e-4f8f5e1b6a01"
	must(r.client.SetNQN(ctx, "web", nqn))
	must(r.client.SetDHCHAP(ctx, "web", api.DHCHAP{Secret: "DHHC-1:00:ia6zGodOr4SEG0Zzaw398rpY0wqipUWj4jWjUh4HWUz6aQ2n:"}))
	hosts, err := r.client.Hosts(ctx)
	must(err)
	if h := hosts[0]; h.NQN != nqn || h.DHCHAP != "one-way" {
		t.Errorf("hosts: %+v", hosts)
	}
	if len(exports) != 1 || exports[0].LUN == nil || *exports[0].LUN != lun || exports[0].IQN != "iqn.2026-11.io.ashlar:prod" {
		t.Errorf("exports: %+v", exports)
	}
	v, err = r.client.ResizeVolume(ctx, "db", api.Size{Size: 20 << 20})
	must(err)
	if v.Size != 20<<20 || v.Segments != 5 {
		t.Errorf("grown: %+v", v)
	}
	must(r.client.MoveHead(ctx, "db", api.Head{Node: "node1"})) // it is there
	pool, err := r.client.Pool(ctx)
	must(err)
	if len(pool.Disks) != 1 || pool.Disks[0].State != "ok" || pool.Size == 0 || pool.Free+pool.Used != pool.Size || pool.Volumes != 20<<20 ||
		pool.Provisioned != 20<<20 || len(pool.Warnings) != 0 {
		t.Errorf("pool: %+v", pool)
	}
	detail, err := r.client.Volume(ctx, "db")
	must(err)
	if len(detail.Placement) != 5 || detail.Placement[4].Replicas[0].Disk != d.ID || len(detail.Exports) != 1 {
		t.Errorf("placement: %+v", detail)
	}
	must(r.client.DeleteExport(ctx, "db", "web"))
	must(r.client.DeleteHost(ctx, "web"))
	must(r.client.DeleteVolume(ctx, "db"))
	c, err := r.client.Cluster(ctx)
	must(err)
	if c.Name != "prod" || c.SegmentSize != 4<<20 || len(c.Nodes) != 1 || len(c.Volumes) != 0 || c.State != "healthy" {
		t.Errorf("cluster: %+v", c)
	}
	hosts, err = r.client.Hosts(ctx)
	must(err)
	if len(hosts) != 0 {
		t.Errorf("hosts: %+v", hosts)
	}
	var p *api.Problem
	if _, err = r.client.DrainNode(ctx, "node1", false); !errors.As(err, &p) || p.Code != "wrong-state" {
		t.Errorf("draining the only node: %v", err)
	}
	must(r.client.UndrainNode(ctx, "node1"))
	_, err = r.client.Node(ctx, "nod1")
	if !errors.As(err, &p) || p.Code != "not-found" || !strings.Contains(p.Next, `"node1"`) {
		t.Errorf("an unknown node: %v", err)
	}
}

func TestTheAPIDescribesItself(t *testing.T) {
	r := newRig(t)
	status, _, text := r.send("GET", "/openapi.json", "")
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Summary     string
			Responses   map[string]any
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil || status != 200 || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("status %d, %v, OpenAPI %q", status, err, doc.OpenAPI)
	}
	for path, methods := range doc.Paths {
		if !strings.HasPrefix(path, "/v1/") {
			t.Errorf("%s is of no version", path)
		}
		for method, o := range methods {
			if o.OperationID == "" || o.Summary == "" || o.Responses["default"] == nil {
				t.Errorf("%s %s: %+v", method, path, o)
			}
		}
	}
	for _, property := range []string{"code", "detail", "next", "status", "title"} {
		if doc.Components.Schemas["Problem"].Properties[property] == nil {
			t.Errorf("a problem's %q is not described", property)
		}
	}
	if status, _, _ := r.send("GET", "/docs", ""); status != 404 {
		t.Errorf("/docs answers %d: a page that loads scripts from elsewhere", status)
	}
}
