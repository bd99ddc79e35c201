package api

import "ashlar/node/cluster"

// Right is who may use an operation.
type Right struct {
	Least  cluster.Role // Viewer, Operator or Admin
	Tenant bool         // tenants may, with what is their own
}

var (
	viewers   = Right{Least: cluster.Viewer}
	operators = Right{Least: cluster.Operator}
	admins    = Right{Least: cluster.Admin}

	viewersAndTenants   = Right{cluster.Viewer, true}
	operatorsAndTenants = Right{cluster.Operator, true}
)

// Rights are the rights to all operations, by their identity in the OpenAPI document. An operation that is not here is
// refused to whoever comes over the network.
var Rights = map[string]Right{
	"get-status": viewers, "get-cluster": viewers, "get-authority": viewersAndTenants, "plan-release": viewers, "check-network": viewers, "check-upgrade": viewers,
	"create-cluster": admins, "join-cluster": admins, "release": admins, "reset": admins, "set-cluster": admins, "get-secret": admins,
	"plan-adoption": admins, "adopt": admins,

	"list-nodes": viewers, "get-node": viewers,
	"drain-node": operators, "undrain-node": operators,
	"set-node": admins, "remove-node": admins,

	"get-pool": viewers, "list-disks": viewers, "get-disk": viewers,
	"add-disk": admins, "drain-disk": admins, "undrain-disk": admins, "remove-disk": admins,

	"list-volumes": viewersAndTenants, "get-volume": viewersAndTenants, "verifying": viewers, "scrub-status": viewers, "why": viewers,
	"create-volume": operatorsAndTenants, "resize-volume": operatorsAndTenants, "delete-volume": operatorsAndTenants,
	"move-head": operators, "verify-volume": operators,

	"list-jobs": viewersAndTenants, "get-job": viewersAndTenants, "cancel-job": operators,

	"get-health": viewers, "list-events": viewersAndTenants, "watch-events": viewersAndTenants,

	"list-hosts": viewersAndTenants, "list-sessions": viewers, "disconnect-host": operators,
	"add-host": operatorsAndTenants, "set-nqn": operatorsAndTenants, "set-chap": operatorsAndTenants, "set-dhchap": operatorsAndTenants, "delete-host": operatorsAndTenants,

	"list-exports": viewersAndTenants, "add-export": operatorsAndTenants, "delete-export": operatorsAndTenants,

	"list-addresses": viewers, "add-address": admins, "delete-address": admins,

	"list-tokens": admins, "create-token": admins, "delete-token": admins,
	"list-tenants": viewers, "create-tenant": admins, "set-tenant": admins, "delete-tenant": admins,
	"list-audit": admins,
}

var ranks = map[cluster.Role]int{cluster.Viewer: 1, cluster.Operator: 2, cluster.Admin: 3}

// Allows says whether a role has the right.
func (r Right) Allows(role cluster.Role) bool {
	if role == cluster.TenantOf {
		return r.Tenant
	}
	return ranks[role] >= ranks[r.Least] && ranks[r.Least] > 0
}
