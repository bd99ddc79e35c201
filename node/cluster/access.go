package cluster

import (
	"crypto/sha256"
	"crypto/subtle"
	"maps"
	"slices"
)

// Role is what the holder of a token may do with the API.
type Role string

// Each of the first three may do what the ones before it may. A tenant may use what is its own, and nothing else.
const (
	Viewer   Role = "viewer"   // reads all but secrets
	Operator Role = "operator" // runs volumes, hosts, exports, and where they are served
	Admin    Role = "admin"    // says who and what belongs to the cluster
	TenantOf Role = "tenant"
)

// Token lets who holds its secret use the API over the network.
type Token struct {
	Name    string
	Hash    Secret // SHA-256 of the secret, which nobody but its holder has
	Role    Role
	Tenant  string `json:",omitempty"` // of a TenantOf
	Created int64  // ms since 1970, of the clock of the node that made it
	Expires int64  `json:",omitempty"` // the same; 0: never
}

// tokensMax and tenantsMax bound the state.
const (
	tokensMax  = 1024
	tenantsMax = 1024
)

// Tenant owns volumes and hosts, and sees no others.
type Tenant struct {
	Name    string
	Bytes   uint64 // that its volumes may have together, of their sizes as hosts see them; 0: any
	Volumes int    `json:",omitempty"` // that it may have; 0: any
}

// AddToken makes a token known. Its Hash is the caller's, so that no secret is in the log.
type AddToken struct{ Token Token }

// DeleteToken has a token let nobody in any more.
type DeleteToken struct{ Name string }

// AddTenant makes a tenant, which owns nothing yet.
type AddTenant struct{ Tenant Tenant }

// SetTenant changes what a tenant may have. What it has stays, also where that is more.
type SetTenant struct{ Tenant Tenant }

// DeleteTenant removes a tenant that owns nothing, and for which no token is.
type DeleteTenant struct{ Name string }

// TokenOf is the token with a secret, nil where there is none. How long it takes tells nothing of the hashes.
func (s *State) TokenOf(secret []byte) (found *Token) {
	sum := sha256.Sum256(secret)
	for _, t := range s.Tokens {
		if subtle.ConstantTimeCompare(sum[:], t.Hash) == 1 {
			found = t
		}
	}
	return found
}

func (s *State) addToken(c *AddToken) Result {
	t := c.Token
	switch {
	case !nameRule.MatchString(t.Name):
		return badName("token", t.Name)
	case s.Tokens[t.Name] != nil:
		return problem(Exists, "a token named %q is there already", t.Name)
	case len(t.Hash) != sha256.Size:
		return problem(Invalid, "the hash of a token has %d bytes, not %d", sha256.Size, len(t.Hash))
	case t.Role != Viewer && t.Role != Operator && t.Role != Admin && t.Role != TenantOf:
		return problem(Invalid, "%q is no role: there are viewer, operator, admin and tenant", t.Role)
	case t.Role == TenantOf && t.Tenant == "":
		return problem(Invalid, "a token with the role tenant needs the tenant")
	case t.Role != TenantOf && t.Tenant != "":
		return problem(Invalid, "a token with the role %s is no tenant's", t.Role)
	case t.Tenant != "" && s.Tenants[t.Tenant] == nil:
		return problem(NotFound, "no tenant %q", t.Tenant)
	case t.Expires != 0 && t.Expires <= t.Created:
		return problem(Invalid, "the token would expire before it is made")
	case len(s.Tokens) >= tokensMax:
		return problem(Refused, "there are %d tokens, which is all there can be: delete those that nobody uses", tokensMax)
	}
	s.Tokens = with(s.Tokens, t.Name, &t)
	return Result{}
}

func (s *State) deleteToken(c *DeleteToken) Result {
	if s.Tokens[c.Name] == nil {
		return problem(NotFound, "no token %q", c.Name)
	}
	s.Tokens = without(s.Tokens, c.Name)
	return Result{}
}

func (s *State) addTenant(c *AddTenant) Result {
	t := c.Tenant
	switch {
	case !nameRule.MatchString(t.Name):
		return badName("tenant", t.Name)
	case s.Tenants[t.Name] != nil:
		return problem(Exists, "a tenant named %q is there already", t.Name)
	case t.Volumes < 0:
		return problem(Invalid, "a tenant has no %d volumes", t.Volumes)
	case len(s.Tenants) >= tenantsMax:
		return problem(Refused, "there are %d tenants, which is all there can be", tenantsMax)
	}
	s.Tenants = with(s.Tenants, t.Name, &t)
	return Result{}
}

func (s *State) setTenant(c *SetTenant) Result {
	t := c.Tenant
	switch {
	case s.Tenants[t.Name] == nil:
		return problem(NotFound, "no tenant %q", t.Name)
	case t.Volumes < 0:
		return problem(Invalid, "a tenant has no %d volumes", t.Volumes)
	}
	s.Tenants = with(s.Tenants, t.Name, &t)
	return Result{}
}

func (s *State) deleteTenant(c *DeleteTenant) Result {
	if s.Tenants[c.Name] == nil {
		return problem(NotFound, "no tenant %q", c.Name)
	}
	if volumes, _ := s.Owned(c.Name); volumes > 0 {
		return problem(Refused, "tenant %q owns %d volumes: delete them first", c.Name, volumes)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Hosts)) {
		if s.Hosts[name].Tenant == c.Name {
			return problem(Refused, "tenant %q owns host %q: delete it first", c.Name, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tokens)) {
		if s.Tokens[name].Tenant == c.Name {
			return problem(Refused, "token %q is for tenant %q: delete it first", name, c.Name)
		}
	}
	s.Tenants = without(s.Tenants, c.Name)
	return Result{}
}

// Owned are how many volumes a tenant has, and their sizes together.
func (s *State) Owned(tenant string) (volumes int, bytes uint64) {
	for _, v := range s.Volumes {
		if v.Tenant == tenant {
			volumes++
			bytes += v.Bytes
		}
	}
	return volumes, bytes
}

// mayGrow refuses what would take a tenant, where there is one, beyond its quota: more volumes, and more bytes.
func (s *State) mayGrow(tenant string, volumes int, bytes uint64) Result {
	if tenant == "" {
		return Result{}
	}
	t := s.Tenants[tenant]
	if t == nil {
		return problem(NotFound, "no tenant %q", tenant)
	}
	count, has := s.Owned(tenant)
	if t.Volumes > 0 && volumes > 0 && count+volumes > t.Volumes {
		return problem(Quota, "tenant %q has %d of its %d volumes", tenant, count, t.Volumes)
	}
	if t.Bytes > 0 && (has > t.Bytes || bytes > t.Bytes-has) {
		return problem(Quota, "tenant %q has %d of its %d bytes, so there is no room for %d more", tenant, has, t.Bytes, bytes)
	}
	return Result{}
}

// with and without are copies of a map that nobody changes in place.
func with[V any](m map[string]V, name string, v V) map[string]V {
	if m = maps.Clone(m); m == nil {
		m = map[string]V{}
	}
	m[name] = v
	return m
}

func without[V any](m map[string]V, name string) map[string]V {
	m = maps.Clone(m)
	delete(m, name)
	return m
}
