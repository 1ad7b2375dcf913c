# The bucket for scheduled backups. Old versions are kept for a while, and no node may delete those: a node that somebody
# took over can delete and replace backups, and they can be fetched back.

resource "aws_s3_bucket" "backups" {
  count  = var.backup_bucket == "" ? 0 : 1
  bucket = var.backup_bucket

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_public_access_block" "backups" {
  count                   = length(aws_s3_bucket.backups)
  bucket                  = aws_s3_bucket.backups[count.index].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "backups" {
  count  = length(aws_s3_bucket.backups)
  bucket = aws_s3_bucket.backups[count.index].id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "backups" {
  count      = length(aws_s3_bucket.backups)
  bucket     = aws_s3_bucket.backups[count.index].id
  depends_on = [aws_s3_bucket_versioning.backups]

  rule {
    id     = "old-versions"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = var.backup_old_days
    }
  }

  # A leader that dies leaves a part behind.
  rule {
    id     = "incomplete-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

data "aws_iam_policy_document" "backups" {
  count = length(aws_s3_bucket.backups)
  statement {
    sid       = "NothingInTheClear"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.backups[count.index].arn, "${aws_s3_bucket.backups[count.index].arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "backups" {
  count      = length(aws_s3_bucket.backups)
  bucket     = aws_s3_bucket.backups[count.index].id
  policy     = data.aws_iam_policy_document.backups[count.index].json
  depends_on = [aws_s3_bucket_public_access_block.backups]
}
