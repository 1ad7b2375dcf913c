variable "name" {
  description = "What the key's alias, the role and the policies are called."
  type        = string
  default     = "strongroom"
}

variable "node_service" {
  description = "Who may give the role to a node: ec2.amazonaws.com, ecs-tasks.amazonaws.com or pods.eks.amazonaws.com."
  type        = string
  default     = "ec2.amazonaws.com"
}

variable "operator_arns" {
  description = "Who may make a cluster key and wrap it anew: ARNs of roles or users. It is a node's key: keep this list short, or empty it afterwards."
  type        = list(string)
  default     = []
}

variable "rewrap" {
  description = "Nodes may re-wrap: for VAULT_KMS_REWRAP_ENABLED, or to leave a key."
  type        = bool
  default     = false
}

variable "hash_names" {
  description = "VAULT_KMS_HASH_NAMES is true: the context's names are digests, and no pattern tells whose they are."
  type        = bool
  default     = false
}

variable "backup_bucket" {
  description = "A bucket to make for scheduled backups; empty: none."
  type        = string
  default     = ""
}

variable "backup_prefix" {
  description = "The prefix of VAULT_BACKUP_URL=s3://bucket/prefix, without slashes at its ends."
  type        = string
  default     = "strongroom"
}

variable "backup_old_days" {
  description = "For how many days a backup that was deleted or replaced can be fetched back as an old version."
  type        = number
  default     = 30
}
