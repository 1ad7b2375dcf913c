# The KMS key. Its policy lets the account manage it and nobody but the nodes' role use it: an identity's policy alone,
# an administrator's "*" among them, opens no secret. Whoever may change the policy can let himself in, and CloudTrail
# shows it.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  account = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"

  # What the server calls: GenerateDataKey for a new version, Decrypt for a read. With re-wrapping ReEncrypt, which is two
  # rights, and ListKeyRotations, to see when the key was rotated.
  seal_actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
  rewrap_actions = ["kms:ReEncryptFrom", "kms:ReEncryptTo"]
  notice_actions = ["kms:ListKeyRotations"]

  # What the contexts of versions have as their name: secrets, and the probe that a node does at its start.
  context_names = var.hash_names ? ["*"] : ["secret/*", "strongroom/probe"]
}

data "aws_iam_policy_document" "key" {
  statement {
    sid = "ManageAndNotUse"
    actions = [
      "kms:CancelKeyDeletion",
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:DescribeKey",
      "kms:DisableKey",
      "kms:EnableKey",
      "kms:EnableKeyRotation",
      "kms:GetKeyPolicy",
      "kms:GetKeyRotationStatus",
      "kms:ListAliases",
      "kms:ListKeyPolicies",
      "kms:ListKeyRotations",
      "kms:ListResourceTags",
      "kms:PutKeyPolicy",
      "kms:RotateKeyOnDemand",
      "kms:ScheduleKeyDeletion",
      "kms:TagResource",
      "kms:UntagResource",
      "kms:UpdateAlias",
      "kms:UpdateKeyDescription",
    ]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = [local.account]
    }
  }

  statement {
    sid       = "NodesSealVersions"
    actions   = concat(local.seal_actions, var.rewrap ? local.rewrap_actions : [])
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.node.arn]
    }
    condition {
      test     = "StringLike"
      variable = "kms:EncryptionContext:name"
      values   = local.context_names
    }
    condition {
      test     = "Null"
      variable = "kms:EncryptionContext:version"
      values   = ["false"]
    }
  }

  statement {
    sid       = "NodesOpenTheClusterKey"
    actions   = ["kms:Decrypt"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.node.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:purpose"
      values   = ["strongroom/cluster-key"]
    }
  }

  dynamic "statement" {
    for_each = var.rewrap ? [1] : []
    content {
      sid       = "NodesNoticeRotations"
      actions   = local.notice_actions
      resources = ["*"]
      principals {
        type        = "AWS"
        identifiers = [aws_iam_role.node.arn]
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.operator_arns) > 0 ? [1] : []
    content {
      sid       = "OperatorsMakeTheClusterKey"
      actions   = concat(local.seal_actions, local.rewrap_actions)
      resources = ["*"]
      principals {
        type        = "AWS"
        identifiers = var.operator_arns
      }
      condition {
        test     = "StringEquals"
        variable = "kms:EncryptionContext:purpose"
        values   = ["strongroom/cluster-key"]
      }
    }
  }
}

resource "aws_kms_key" "strongroom" {
  description             = "Wraps the data keys of ${var.name}. Without it every secret is lost, backups included."
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "strongroom" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.strongroom.key_id
}
