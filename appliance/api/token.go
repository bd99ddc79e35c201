package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"ashlar/appliance/audit"
	"ashlar/node/cluster"

	"github.com/danielgtaylor/huma/v2"
)

// Authority is what clients check the nodes' HTTPS with.
type Authority struct {
	Certificate string `json:"certificate" doc:"PEM"`
}

// Token is one without its secret, which nobody but its holder has.
type Token struct {
	Name    string     `json:"name"`
	Role    string     `json:"role" enum:"viewer,operator,admin,tenant"`
	Tenant  string     `json:"tenant,omitempty" doc:"Of the role tenant"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty" doc:"None: never"`
}

// NewToken is one to be made.
type NewToken struct {
	Name    string `json:"name"`
	Role    string `json:"role" enum:"viewer,operator,admin,tenant"`
	Tenant  string `json:"tenant,omitempty" doc:"For the role tenant"`
	Seconds uint64 `json:"expires_s,omitempty" maximum:"3153600000" doc:"After which it expires; none: never"`
}

// MadeToken is one with its secret.
type MadeToken struct {
	Token
	Secret string `json:"secret" doc:"Shown this once"`
}

// Tenant owns volumes and hosts.
type Tenant struct {
	Name    string `json:"name"`
	Quota   uint64 `json:"quota,omitempty" doc:"Bytes that its volumes may have together, as hosts see their sizes, however many copies there are; none: any"`
	Volumes int    `json:"volumes,omitempty" minimum:"0" doc:"How many volumes it may have; none: any"`

	HasBytes   uint64 `json:"has_bytes,omitempty" readOnly:"true"`
	HasVolumes int    `json:"has_volumes,omitempty" readOnly:"true"`
}

// Quotas are what a tenant may have.
type Quotas struct {
	Quota   *uint64 `json:"quota,omitempty" doc:"As it is made with; left out: as it is; 0: any"`
	Volumes *int    `json:"volumes,omitempty" minimum:"0" doc:"The same"`
}

// tokenPrefix lets people, and programs that look for secrets that leaked, tell what it is.
const tokenPrefix = "ashlar_"

var base32lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func drawToken() string {
	b := make([]byte, 32)
	rand.Read(b)
	return tokenPrefix + base32lower.EncodeToString(b)
}

// auditMost bounds an answer.
const auditMost = 100_000

func (s server) access(a huma.API) {
	get(a, "/cluster/authority", "get-authority", "The certificate with which clients check the nodes' HTTPS", func(_ context.Context, _ *nothing) (Authority, error) {
		certificate, err := s.node.AuthorityCertificate()
		return Authority{string(certificate)}, err
	})
	get(a, "/tokens", "list-tokens", "Who may use the API over the network", func(_ context.Context, _ *nothing) ([]Token, error) {
		state, err := s.node.State()
		if err != nil {
			return nil, err
		}
		out := []Token{}
		for _, name := range slices.Sorted(maps.Keys(state.Tokens)) {
			out = append(out, tokenView(*state.Tokens[name]))
		}
		return out, nil
	})
	register(a, http.MethodPost, "/tokens", "create-token", "Let somebody use the API over the network", orderTimeout, s.createToken)
	order(a, http.MethodDelete, "/tokens/{name}", "delete-token", "Let a token in no more", orderTimeout,
		func(ctx context.Context, in *named) error { return s.node.DeleteToken(ctx, in.Name) })
	get(a, "/tenants", "list-tenants", "All tenants", func(_ context.Context, _ *nothing) ([]Tenant, error) {
		state, err := s.node.State()
		if err != nil {
			return nil, err
		}
		out := []Tenant{}
		for _, name := range slices.Sorted(maps.Keys(state.Tenants)) {
			t := state.Tenants[name]
			v := Tenant{Name: name, Quota: t.Bytes, Volumes: t.Volumes}
			v.HasVolumes, v.HasBytes = state.Owned(name)
			out = append(out, v)
		}
		return out, nil
	})
	order(a, http.MethodPost, "/tenants", "create-tenant", "Make somebody who owns volumes and hosts, and sees no others", orderTimeout,
		func(ctx context.Context, in *input[Tenant]) error {
			return s.node.AddTenant(ctx, cluster.Tenant{Name: in.Body.Name, Bytes: in.Body.Quota, Volumes: in.Body.Volumes})
		})
	order(a, http.MethodPatch, "/tenants/{name}", "set-tenant", "Change what a tenant may have; what it has stays", orderTimeout,
		func(ctx context.Context, in *struct {
			Name string `path:"name" maxLength:"64"`
			Body Quotas
		}) error {
			return s.setTenant(ctx, in.Name, in.Body)
		})
	order(a, http.MethodDelete, "/tenants/{name}", "delete-tenant", "Forget a tenant that owns nothing", orderTimeout,
		func(ctx context.Context, in *named) error { return s.node.DeleteTenant(ctx, in.Name) })
	get(a, "/audit", "list-audit", "Who ordered what through this node, oldest first", func(_ context.Context, in *struct {
		Since time.Time `query:"since" doc:"None: all that is kept"`
	}) ([]audit.Entry, error) {
		return audit.Read(auditPath(s.node), in.Since, auditMost)
	})
}

func (s server) createToken(ctx context.Context, in *input[NewToken]) (MadeToken, error) {
	secret, now := drawToken(), time.Now()
	sum := sha256.Sum256([]byte(secret))
	t := cluster.Token{Name: in.Body.Name, Hash: sum[:], Role: cluster.Role(in.Body.Role), Tenant: in.Body.Tenant, Created: now.UnixMilli()}
	if in.Body.Seconds > 0 {
		t.Expires = now.Add(time.Duration(in.Body.Seconds) * time.Second).UnixMilli()
	}
	if err := s.node.AddToken(ctx, t); err != nil {
		return MadeToken{}, err
	}
	return MadeToken{tokenView(t), secret}, nil
}

func (s server) setTenant(ctx context.Context, name string, in Quotas) error {
	state, err := s.node.State()
	if err != nil {
		return err
	}
	t := cluster.Tenant{Name: name}
	if now := state.Tenants[name]; now != nil {
		t = *now
	}
	if in.Quota != nil {
		t.Bytes = *in.Quota
	}
	if in.Volumes != nil {
		t.Volumes = *in.Volumes
	}
	return s.node.SetTenant(ctx, t)
}

func tokenView(t cluster.Token) Token {
	out := Token{Name: t.Name, Role: string(t.Role), Tenant: t.Tenant, Created: time.UnixMilli(t.Created).UTC()}
	if t.Expires != 0 {
		end := time.UnixMilli(t.Expires).UTC()
		out.Expires = &end
	}
	return out
}

// Authority is what clients check the nodes' HTTPS with.
func (c *Client) Authority(ctx context.Context) (Authority, error) {
	return ask[Authority](ctx, c, "GET", "/cluster/authority", nil)
}

func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	return ask[[]Token](ctx, c, "GET", "/tokens", nil)
}

func (c *Client) CreateToken(ctx context.Context, in NewToken) (MadeToken, error) {
	return ask[MadeToken](ctx, c, "POST", "/tokens", in)
}

func (c *Client) DeleteToken(ctx context.Context, name string) error {
	return c.do(ctx, "DELETE", "/tokens/"+url.PathEscape(name), nil, nil)
}

func (c *Client) Tenants(ctx context.Context) ([]Tenant, error) {
	return ask[[]Tenant](ctx, c, "GET", "/tenants", nil)
}

func (c *Client) CreateTenant(ctx context.Context, in Tenant) error {
	return c.do(ctx, "POST", "/tenants", in, nil)
}

// SetTenant changes what is not nil.
func (c *Client) SetTenant(ctx context.Context, name string, in Quotas) error {
	return c.do(ctx, "PATCH", "/tenants/"+url.PathEscape(name), in, nil)
}

func (c *Client) DeleteTenant(ctx context.Context, name string) error {
	return c.do(ctx, "DELETE", "/tenants/"+url.PathEscape(name), nil, nil)
}

// Audit is the record of orders through the node, since a time or, if that is zero, all that is kept.
func (c *Client) Audit(ctx context.Context, since time.Time) ([]audit.Entry, error) {
	path := "/audit"
	if !since.IsZero() {
		path += "?since=" + url.QueryEscape(since.UTC().Format(time.RFC3339Nano))
	}
	return ask[[]audit.Entry](ctx, c, "GET", path, nil)
}
