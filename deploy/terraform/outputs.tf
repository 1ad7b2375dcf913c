output "kms_key_id" {
  description = "VAULT_KMS_KEY_ID."
  value       = aws_kms_alias.strongroom.name
}

output "kms_key_arn" {
  description = "The key's ARN."
  value       = aws_kms_key.strongroom.arn
}

output "node_role_arn" {
  description = "The role that nodes have."
  value       = aws_iam_role.node.arn
}

output "instance_profile" {
  description = "For EC2: the profile that gives an instance the role."
  value       = one(aws_iam_instance_profile.node[*].name)
}

output "node_policy" {
  description = "What the role may do."
  value       = data.aws_iam_policy_document.node.json
}

output "key_policy" {
  description = "Who may do what with the key."
  value       = data.aws_iam_policy_document.key.json
}

output "backup_url" {
  description = "VAULT_BACKUP_URL."
  value       = one([for bucket in aws_s3_bucket.backups : "s3://${bucket.bucket}/${var.backup_prefix}"])
}
