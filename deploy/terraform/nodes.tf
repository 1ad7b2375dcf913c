# The nodes' role, and what it may do. The key's policy says the same about the key: in one account either is enough, and
# across accounts both are needed.

data "aws_iam_policy_document" "trust" {
  statement {
    actions = var.node_service == "pods.eks.amazonaws.com" ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = [var.node_service]
    }
  }
}

data "aws_iam_policy_document" "node" {
  statement {
    sid       = "SealVersions"
    actions   = concat(local.seal_actions, var.rewrap ? local.rewrap_actions : [])
    resources = [aws_kms_key.strongroom.arn]
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
    sid       = "OpenTheClusterKey"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.strongroom.arn]
    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:purpose"
      values   = ["strongroom/cluster-key"]
    }
  }

  dynamic "statement" {
    for_each = var.rewrap ? [1] : []
    content {
      sid       = "NoticeRotations"
      actions   = local.notice_actions
      resources = [aws_kms_key.strongroom.arn]
    }
  }

  dynamic "statement" {
    for_each = aws_s3_bucket.backups
    content {
      sid       = "ListBackups"
      actions   = ["s3:ListBucket"]
      resources = [statement.value.arn]
      condition {
        test     = "StringLike"
        variable = "s3:prefix"
        values   = [var.backup_prefix, "${var.backup_prefix}/*"]
      }
    }
  }

  dynamic "statement" {
    for_each = aws_s3_bucket.backups
    content {
      sid       = "KeepBackups"
      actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
      resources = ["${statement.value.arn}/${var.backup_prefix}/*"]
    }
  }
}

resource "aws_iam_role" "node" {
  name               = "${var.name}-node"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "node" {
  name   = "${var.name}-node"
  role   = aws_iam_role.node.id
  policy = data.aws_iam_policy_document.node.json
}

resource "aws_iam_instance_profile" "node" {
  count = var.node_service == "ec2.amazonaws.com" ? 1 : 0
  name  = "${var.name}-node"
  role  = aws_iam_role.node.name
}
