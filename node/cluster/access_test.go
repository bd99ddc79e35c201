package cluster

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

func hashOf(secret string) Secret {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// access is a command about tokens and tenants.
func (g *chaos) access(s *State) Command {
	tenant, name := fmt.Sprint("t", g.IntN(3)), fmt.Sprint("k", g.IntN(4))
	switch g.IntN(8) {
	case 0:
		return Command{DeleteTenant: &DeleteTenant{tenant}}
	case 1:
		return Command{SetTenant: &SetTenant{Tenant{Name: tenant, Bytes: uint64(g.IntN(9)) * mib, Volumes: g.IntN(3)}}}
	case 2:
		return Command{DeleteToken: &DeleteToken{name}}
	case 3:
		return Command{CreateVolume: &CreateVolume{Name: fmt.Sprint("v", g.IntN(6)), Bytes: mib, Copies: 1, Tenant: tenant}}
	case 4:
		h := fmt.Sprint("h", g.IntN(6))
		return Command{AddHost: &AddHost{Name: h, IQN: "iqn.2001-04.com.example:" + h, Tenant: tenant}}
	case 5:
		t := Token{Name: name, Hash: hashOf(name), Role: Operator, Created: 5}
		if g.IntN(2) == 0 {
			t.Role, t.Tenant, t.Expires = TenantOf, tenant, int64(4+g.IntN(9))
		}
		return Command{AddToken: &AddToken{t}}
	}
	return Command{AddTenant: &AddTenant{Tenant{Name: tenant, Bytes: uint64(4+g.IntN(9)) * mib}}}
}

func TestATokenIsFoundByItsSecretAlone(t *testing.T) {
	r := newRig(t, 1, 1)
	add := func(name, secret string, role Role) Command {
		return Command{AddToken: &AddToken{Token{Name: name, Hash: hashOf(secret), Role: role, Created: 1}}}
	}
	r.good(add("a", "secret of a", Admin))
	r.good(add("b", "secret of b", Viewer))
	for secret, name := range map[string]string{"secret of a": "a", "secret of b": "b"} {
		if k := r.TokenOf([]byte(secret)); k == nil || k.Name != name {
			t.Errorf("%q finds %+v", secret, k)
		}
	}
	for _, secret := range []string{"", "a", "secret of c", string(hashOf("secret of a"))} {
		if k := r.TokenOf([]byte(secret)); k != nil {
			t.Errorf("%q finds %+v", secret, k)
		}
	}
	r.refuse(Exists, add("a", "another", Admin))
	r.refuse(Invalid, add("A", "another", Admin))
	r.refuse(Invalid, add("c", "another", "root"))
	r.refuse(Invalid, add("c", "another", TenantOf))
	r.refuse(Invalid, Command{AddToken: &AddToken{Token{Name: "c", Hash: hashOf("c")[1:], Role: Admin}}})
	r.refuse(Invalid, Command{AddToken: &AddToken{Token{Name: "c", Hash: hashOf("c"), Role: Admin, Created: 7, Expires: 7}}})
	r.refuse(Invalid, Command{AddToken: &AddToken{Token{Name: "c", Hash: hashOf("c"), Role: Admin, Tenant: "t"}}})
	r.refuse(NotFound, Command{AddToken: &AddToken{Token{Name: "c", Hash: hashOf("c"), Role: TenantOf, Tenant: "t"}}})
	r.good(Command{DeleteToken: &DeleteToken{"a"}})
	r.refuse(NotFound, Command{DeleteToken: &DeleteToken{"a"}})
	if k := r.TokenOf([]byte("secret of a")); k != nil {
		t.Errorf("a deleted token is found: %+v", k)
	}
}

func TestDisksTellNothingOfTokens(t *testing.T) {
	r := newRig(t, 1, 1)
	r.good(Command{AddTenant: &AddTenant{Tenant{Name: "acme"}}})
	r.good(Command{AddToken: &AddToken{Token{Name: "key-of-acme", Hash: hashOf("x"), Role: TenantOf, Tenant: "acme", Created: 1}}})
	told := text(r.withoutSecrets())
	if strings.Contains(told, "key-of-acme") || strings.Contains(told, "Hash") || !strings.Contains(told, `"acme"`) {
		t.Errorf("a disk tells %s", told)
	}
	if len(r.Tokens) != 1 {
		t.Error("the cluster has forgotten its token")
	}
	if said := fmt.Sprintf("%v %+v %#v", r.Tokens["key-of-acme"], *r.Tokens["key-of-acme"], *r.Tokens["key-of-acme"]); !strings.Contains(said, "(secret)") {
		t.Errorf("a token prints as %s", said)
	}
}

func TestATenantHasNoMoreThanItsQuota(t *testing.T) {
	r := newRig(t, 1, 1)
	create := func(name string, mibs uint64, tenant string) Command {
		return Command{CreateVolume: &CreateVolume{Name: name, Bytes: mibs * mib, Copies: 1, Tenant: tenant}}
	}
	resize := func(name string, mibs uint64) Command {
		return Command{ResizeVolume: &ResizeVolume{name, mibs * mib}}
	}
	r.good(Command{AddTenant: &AddTenant{Tenant{Name: "acme", Bytes: 10 * mib, Volumes: 2}}})
	r.refuse(Exists, Command{AddTenant: &AddTenant{Tenant{Name: "acme"}}})
	r.refuse(NotFound, create("a", 1, "other"))
	r.refuse(Quota, create("a", 11, "acme"))
	r.good(create("a", 4, "acme"))
	r.good(create("mine", 100, "")) // is nobody's
	r.good(resize("a", 9))
	r.refuse(Quota, create("b", 2, "acme"))
	r.good(create("b", 1, "acme"))
	r.refuse(Quota, create("c", 1, "acme"))
	r.refuse(Quota, resize("b", 2))
	r.good(resize("b", 1)) // as it is
	r.good(resize("mine", 200))
	r.good(Command{SetTenant: &SetTenant{Tenant{Name: "acme", Bytes: 3 * mib}}})
	r.refuse(Quota, create("c", 1, "acme"))
	r.good(Command{SetTenant: &SetTenant{Tenant{Name: "acme"}}})
	r.good(create("c", 1<<20, "acme"))
	r.refuse(NotFound, Command{SetTenant: &SetTenant{Tenant{Name: "other"}}})
}

func TestAVolumeIsPublishedToItsTenantsHostsOnly(t *testing.T) {
	r := newRig(t, 1, 1)
	for _, tenant := range []string{"", "acme", "zeta"} {
		if tenant != "" {
			r.good(Command{AddTenant: &AddTenant{Tenant{Name: tenant}}})
		}
		r.good(Command{CreateVolume: &CreateVolume{Name: "v" + tenant, Bytes: mib, Copies: 1, Tenant: tenant}})
		r.good(Command{AddHost: &AddHost{Name: "h" + tenant, IQN: "iqn.2001-04.com.example:h" + tenant, Tenant: tenant}})
	}
	for _, of := range []string{"", "acme", "zeta"} {
		for _, to := range []string{"", "acme", "zeta"} {
			c := Command{SetExport: &SetExport{Volume: "v" + of, Host: "h" + to}}
			if of == to {
				r.good(c)
			} else {
				r.refuse(Refused, c)
			}
		}
	}
}

func TestATenantThatOwnsSomethingStays(t *testing.T) {
	r := newRig(t, 1, 1)
	gone := Command{DeleteTenant: &DeleteTenant{"acme"}}
	r.refuse(NotFound, gone)
	r.good(Command{AddTenant: &AddTenant{Tenant{Name: "acme"}}})
	r.good(Command{CreateVolume: &CreateVolume{Name: "v", Bytes: mib, Copies: 1, Tenant: "acme"}})
	r.refuse(NotFound, Command{AddHost: &AddHost{Name: "h", IQN: "iqn.2001-04.com.example:h", Tenant: "other"}})
	r.good(Command{AddHost: &AddHost{Name: "h", IQN: "iqn.2001-04.com.example:h", Tenant: "acme"}})
	r.good(Command{AddToken: &AddToken{Token{Name: "k", Hash: hashOf("k"), Role: TenantOf, Tenant: "acme"}}})
	r.refuse(Refused, gone)
	r.good(Command{DeleteVolume: &DeleteVolume{"v"}})
	r.refuse(Refused, gone)
	r.good(Command{DeleteHost: &DeleteHost{"h"}})
	r.refuse(Refused, gone)
	r.good(Command{DeleteToken: &DeleteToken{"k"}})
	r.good(gone)
}
