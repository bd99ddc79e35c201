package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"ashlar/node"
	"ashlar/node/cluster"

	"github.com/danielgtaylor/huma/v2"
)

// What is another tenant's does not exist for a tenant. Names are the cluster's, so a tenant may learn that one is taken.

// concerns refuses a tenant what the path of an operation names and is not the tenant's.
func (s server) concerns(c caller, op *huma.Operation, param func(string) string) *Problem {
	if c.role != cluster.TenantOf {
		return nil
	}
	state, err := s.node.State()
	if err != nil {
		return answer(err).(*Problem)
	}
	for _, p := range op.Parameters {
		if p.In != "path" {
			continue
		}
		name := param(p.Name)
		if strings.HasPrefix(op.Path, "/v1/jobs/") {
			if id, err := strconv.ParseUint(name, 10, 64); err != nil || !ownsJob(state, c.tenant, id) {
				return notTheirs("job", name)
			}
			continue
		}
		host := p.Name == "host" || strings.HasPrefix(op.Path, "/v1/hosts/")
		if host && !ownsHost(state, c.tenant, name) {
			return notTheirs("host", name)
		}
		if !host && !ownsVolume(state, c.tenant, name) {
			return notTheirs("volume", name)
		}
	}
	return nil
}

func ownsVolume(s *cluster.State, tenant, name string) bool {
	v := s.VolumeNamed(name)
	return v != nil && v.Tenant == tenant
}

func ownsHost(s *cluster.State, tenant, name string) bool {
	h := s.Hosts[name]
	return h != nil && h.Tenant == tenant
}

func ownsJob(s *cluster.State, tenant string, id uint64) bool {
	j := s.Job(id)
	return j != nil && j.Tenant == tenant
}

func notTheirs(what, name string) *Problem {
	p := node.Unknown(what, name, nil)
	return newProblem(http.StatusNotFound, p.Code, p.Text, p.Next)
}

// ownExport refuses a tenant an export of what is not the tenant's.
func (s server) ownExport(ctx context.Context, e Export) error {
	tenant := tenantOf(ctx)
	if tenant == "" {
		return nil
	}
	state, err := s.node.State()
	switch {
	case err != nil:
		return err
	case !ownsVolume(state, tenant, e.Volume):
		return node.Unknown("volume", e.Volume, nil)
	case !ownsHost(state, tenant, e.Host):
		return node.Unknown("host", e.Host, nil)
	}
	return nil
}

// tenantOf is the tenant who asks, empty if it is somebody else.
func tenantOf(ctx context.Context) string {
	if r := requestOf(ctx); r != nil {
		return r.caller.tenant
	}
	return ""
}

// ownerFor is whose is to be what is made: the tenant's who asks, or as the order says.
func ownerFor(ctx context.Context, ordered string) (string, error) {
	tenant := tenantOf(ctx)
	if tenant != "" && ordered != "" && ordered != tenant {
		return "", node.Unknown("tenant", ordered, nil)
	}
	if tenant != "" {
		return tenant, nil
	}
	return ordered, nil
}

// ownOnly is an answer as a tenant may see it.
func (s server) ownOnly(tenant string, v any) any {
	switch v := v.(type) {
	case []Volume:
		return only(v, func(x Volume) bool { return x.Tenant == tenant })
	case []Host:
		return only(v, func(x Host) bool { return x.Tenant == tenant })
	case []Export:
		state, err := s.node.State()
		return only(v, func(x Export) bool { return err == nil && ownsVolume(state, tenant, x.Volume) })
	case []Job:
		state, err := s.node.State()
		v = only(v, func(x Job) bool { return err == nil && ownsJob(state, tenant, x.ID) })
		for i := range v {
			v[i].By = "" // an operator
		}
		return v
	case Job:
		v.By = ""
		return v
	case *Problem:
		return ownProblem(v)
	}
	return v
}

func only[T any](all []T, own func(T) bool) []T {
	out := []T{}
	for _, x := range all {
		if own(x) {
			out = append(out, x)
		}
	}
	return out
}

// ownProblem tells nothing of what is in the way, which may be another's.
func ownProblem(p *Problem) *Problem {
	if p.Code != string(cluster.Exists) {
		return p
	}
	out := *p
	out.Detail, out.Next = "this name, or number, is taken", "choose another one"
	return &out
}
